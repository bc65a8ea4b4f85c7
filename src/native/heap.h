/* The memory of the engine: allocation, and the image of an evaluated heap. */
#ifndef BOWLINE_HEAP_H
#define BOWLINE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "quickjs.h"

/* The objects that a program needs to continue from an evaluated heap. */
typedef struct {
  JSRuntime *runtime;
  JSContext *context;
  JSValue main;
  /* Modules that a call loads when it needs them: see load_module in host.c. */
  const uint8_t *later;
  size_t later_size;
} Root;

/* The allocator to create a runtime with. */
extern const JSMallocFunctions heap_functions;

/* Returns the root, which lies in the heap. */
Root *heap_root(void);

/* Uses the image that the kernel has mapped. Returns false if this executable has none, or that of another program. */
bool heap_restore(void);

/*
 * Reads the image in order. An ADD reads a quarter of it, here and there, and would wait for each piece; all of it in order takes
 * 0.1 ms, and the ADD 0.2 ms less after that.
 */
void heap_read_ahead(void);

/* From here on, blocks are placed where an image will be. Returns 0 or an errno. */
int heap_begin_image(void);

/* Writes the image to a file. Returns 0 or an errno. */
int heap_write_image(const char *path);

#endif
