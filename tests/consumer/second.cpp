// The program of a consumer, second of two files: the same header again, perhaps with other flags; see app.cpp.
#include "segment.hpp"

#define TEXT2(...) #__VA_ARGS__
#define TEXT(...) TEXT2(__VA_ARGS__)

const char* second_abi() { return TEXT(SAMPAN_ABI); }
std::string second_segment(const char* path, float& score, long& area) { return segment(path, score, area); }
