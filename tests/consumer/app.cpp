// The program of a consumer, first of two files. Data flow: each way of consuming the library (run.sh) compiles it together with second.cpp and runs it.
// It uses what differs between the modes: definitions that live in impl/*.ipp (thread pool), inline functions and templates seen by both files.
// Prints the ABI namespaces of the two files, so that mixed_flags can compare them; exits 0 only if both files compute the same.
#include <sampan/core/error.hpp>
#include <sampan/core/thread_pool.hpp>
#include <sampan/core/view.hpp>

#include <cstdio>
#include <vector>

#define TEXT2(...) #__VA_ARGS__
#define TEXT(...) TEXT2(__VA_ARGS__)

const char* second_abi();
double second_sum(const std::vector<float>& data);

int main() {
  std::vector<float> data(1000), squares(1000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = float(i);

  sampan::ThreadPool pool(3);
  const sampan::View<const float, 1> in(data.data(), {1000});
  const sampan::View<float, 1> out(squares.data(), {1000});
  pool.parallel_for(10, [&](sampan::Index item, int) {
    for (sampan::Index i = item * 100; i < item * 100 + 100; ++i) out(i) = in(i) * in(i);
  });
  double sum = 0;
  for (float s : squares) sum += double(s);

  const double other = second_sum(data);
  std::printf("abi %s %s\n", TEXT(SAMPAN_ABI), second_abi());
  const sampan::Status failed = sampan::Error(sampan::ErrorCode::bad_file, "short").at("x.bin");
  const bool ok = sum == other && sum == 332833500.0 && !failed && failed.error().message() == "x.bin: short";
  std::printf("%s\n", ok ? "ok" : "FAILED");
  return ok ? 0 : 1;
}
