#ifndef BOWLINE_SHA256_H
#define BOWLINE_SHA256_H
#include <stddef.h>
#include <stdint.h>

/* Eight words, the most significant first. */
void sha256(const uint8_t *bytes, size_t length, uint32_t hash[8]);
#endif
