// The header-only target carries the include folders, Eigen's too: that is all that this way of consuming adds to the others, so one header is enough.
#include <sampan/ops/eigen_gemm.hpp>

#include <cstdio>

int main() {
  std::printf("sampan %s, Eigen %d.%d\n", SAMPAN_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION);
  std::printf("ok\n");
}
