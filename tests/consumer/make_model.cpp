// Writes a tiny model with random weights, as sampan-convert would: make_model FILE. Data flow: the fixture consumer/model runs it once, every consumer
// then segments an image with the file. Not a consumer itself.
#include "support/tiny_model.hpp"

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto status = sampan::test::write_model(argv[1], sampan::test::tiny_sam());
  if (!status) std::fprintf(stderr, "%s\n", status.error().what());
  return status ? 0 : 1;
}
