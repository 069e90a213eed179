// The program of a consumer, second of two files: the same headers again, perhaps with other flags; see app.cpp.
#include <sampan/core/thread_pool.hpp>
#include <sampan/core/view.hpp>

#include <vector>

#define TEXT2(...) #__VA_ARGS__
#define TEXT(...) TEXT2(__VA_ARGS__)

const char* second_abi() { return TEXT(SAMPAN_ABI); }

double second_sum(const std::vector<float>& data) {
  std::vector<double> part(10);
  const sampan::View<const float, 1> in(data.data(), {sampan::Index(data.size())});
  sampan::ThreadPool pool(2);
  pool.parallel_for(10, [&](sampan::Index item, int) {
    for (sampan::Index i = item * 100; i < item * 100 + 100; ++i) part[std::size_t(item)] += double(in(i)) * double(in(i));
  });
  double sum = 0;
  for (double p : part) sum += p;
  return sum;
}
