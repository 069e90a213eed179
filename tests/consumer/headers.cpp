// The header-only target carries the include folders: that is all that this way of consuming adds to the others.
#include <sampan/sampan.hpp>

#include <cstdio>

int main() {
  std::printf("%s", sampan::build_info().c_str());
  std::printf("ok\n");
}
