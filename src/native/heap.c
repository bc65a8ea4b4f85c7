/*
 * An image is two ranges of memory at fixed addresses, each a segment of the executable, so that the kernel maps both before
 * the first instruction runs: no /proc, no system call. Small blocks, whose reference counts change, lie apart from large
 * ones, mostly bytecode, which is only read: the fewer pages a call writes to, the fewer are copied.
 *
 * Addresses of the engine's functions are part of an image. They hold because the program is linked once, at fixed addresses
 * (no PIE), and the image is appended to that very file.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "heap.h"

enum {
  HEADER = 8,          /* bytes before each block: its size */
  SMALL_LIMIT = 144,   /* bytes; larger blocks of an image lie apart */
  EXACT = 130,         /* free blocks of less than 8 * EXACT bytes are kept by size, */
  CLASSES = EXACT + 54, /* larger ones by powers of two */
  CHUNK = 1 << 20,     /* bytes taken from the kernel at once */
  REGION = 64 << 20,   /* bytes for each range of an image while it is made */
};
#ifdef __aarch64__
#define PAGE "65536" /* bytes; the largest that a kernel may have */
#else
#define PAGE "4096"
#endif
#define MAGIC UINT64_C(0x656e696c776f62)

/* Blocks are cut off at `next`. */
typedef struct { uint8_t *next, *end; } Area;

typedef struct {
  uint64_t magic;
  bool (*written_by)(void); /* differs in any other program */
  Root root;
  Area small, large, fresh;
  void *free_blocks[CLASSES];
  bool is_image; /* while it is made */
} Heap;

/* The linker places both sections at addresses of scripts/build. They take no room in the file until an image is appended. */
__asm__(".pushsection .heap_small,\"aw\",%nobits\n.balign " PAGE "\nsmall_region: .zero 67108864\n.popsection\n"
        ".pushsection .heap_large,\"aw\",%nobits\n.balign " PAGE "\nlarge_region: .zero 67108864\n.popsection");
extern uint8_t small_region[] __attribute__((visibility("hidden")));
extern uint8_t large_region[] __attribute__((visibility("hidden")));
#define heap (*(Heap *)small_region)
#define large_magic (*(uint64_t *)large_region)

static inline size_t *size_of(const void *block) { return (size_t *)block - 1; }

static int power_of(size_t size) { return 63 - __builtin_clzll(size); }

/* A free block of this size has room for whatever looks for one in its class. */
static int class_of(size_t size) {
  return size < 8 * EXACT ? (int)(size >> 3) : EXACT + power_of(size) - 10;
}

static size_t rounded(size_t size) {
  if (size < 8 * EXACT || heap.is_image) return size ? (size + 7) & ~(size_t)7 : 8;
  return (size_t)2 << power_of(size - 1);
}

static bool add_chunk(size_t size) {
  size_t bytes = (size + HEADER + CHUNK - 1) & ~(size_t)(CHUNK - 1);
  uint8_t *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (chunk == MAP_FAILED) return false;
  heap.fresh = (Area){chunk, chunk + bytes};
  return true;
}

static Area *area_for(size_t size) {
  if (!heap.is_image) return &heap.fresh;
  return size > SMALL_LIMIT ? &heap.large : &heap.small;
}

static void *allocate(size_t wanted) {
  if (wanted > PTRDIFF_MAX / 4) return NULL;
  size_t size = rounded(wanted);
  void **list = &heap.free_blocks[class_of(size)];
  void *block = *list;
  if (block && *size_of(block) >= size) {
    *list = *(void **)block;
    return block;
  }
  Area *area = area_for(size);
  if ((size_t)(area->end - area->next) < size + HEADER && (heap.is_image || !add_chunk(size))) return NULL;
  block = area->next + HEADER;
  *size_of(block) = size;
  area->next += HEADER + size;
  return block;
}

static void *heap_malloc(void *opaque, size_t size) {
  (void)opaque;
  return allocate(size);
}

static void *heap_calloc(void *opaque, size_t count, size_t size) {
  (void)opaque;
  size_t bytes;
  void *block = __builtin_mul_overflow(count, size, &bytes) ? NULL : allocate(bytes);
  return block ? memset(block, 0, bytes) : NULL;
}

static void heap_free(void *opaque, void *block) {
  (void)opaque;
  if (!block) return;
  void **list = &heap.free_blocks[class_of(*size_of(block))];
  *(void **)block = *list;
  *list = block;
}

/* The newest block grows in place, as an array does to which elements are added one by one. */
static bool grow_newest(uint8_t *block, size_t size) {
  Area *area = area_for(size);
  if (block + *size_of(block) != area->next || (size_t)(area->end - block) < size) return false;
  *size_of(block) = size;
  area->next = block + size;
  return true;
}

static void *heap_realloc(void *opaque, void *block, size_t size) {
  if (!block) return heap_malloc(opaque, size);
  size_t have = *size_of(block);
  if (size <= have || grow_newest(block, rounded(size))) return block;
  void *moved = heap_malloc(opaque, size);
  if (!moved) return NULL;
  memcpy(moved, block, have);
  heap_free(opaque, block);
  return moved;
}

static size_t heap_usable_size(const void *block) { return block ? *size_of(block) : 0; }

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer watches the blocks of libc, not pieces of ours. */
static void *libc_calloc(void *opaque, size_t count, size_t size) { return opaque ? NULL : calloc(count, size); }
static void *libc_malloc(void *opaque, size_t size) { return opaque ? NULL : malloc(size); }
static void libc_free(void *opaque, void *block) { if (!opaque) free(block); }
static void *libc_realloc(void *opaque, void *block, size_t size) { return opaque ? NULL : realloc(block, size); }
static size_t libc_usable_size(const void *block) { return malloc_usable_size((void *)block); }
const JSMallocFunctions heap_functions = {libc_calloc, libc_malloc, libc_free, libc_realloc, libc_usable_size};
const JSMallocFunctions image_functions =
#else
const JSMallocFunctions heap_functions =
#endif
    {heap_calloc, heap_malloc, heap_free, heap_realloc, heap_usable_size};

Root *heap_root(void) { return &heap.root; }

bool heap_is_restored(void) {
  return heap.magic == MAGIC && heap.written_by == heap_is_restored && large_magic == MAGIC;
}

void heap_begin_image(void) {
  heap.small = (Area){small_region + ((sizeof heap + 7) & ~(size_t)7), small_region + REGION};
  heap.large = (Area){large_region + sizeof large_magic, large_region + REGION};
  heap.is_image = true;
  memset(heap.free_blocks, 0, sizeof heap.free_blocks);
}

static int write_region(const char *path, const char *suffix, const uint8_t *start, const Area *area) {
  char name[4096];
  snprintf(name, sizeof name, "%s.%s", path, suffix);
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  size_t bytes = (size_t)(area->next - start + 4095) & ~(size_t)4095;
  ssize_t written = fd < 0 ? -1 : write(fd, start, bytes);
  int error = written == (ssize_t)bytes ? 0 : written < 0 ? errno : EIO;
  if (fd >= 0) close(fd);
  return error;
}

int heap_write_image(const char *path) {
  heap.magic = large_magic = MAGIC;
  heap.written_by = heap_is_restored;
  heap.is_image = false;
  heap.fresh = (Area){NULL, NULL};
  /* What is allocated later lies together at the end, not in holes all over the image. */
  memset(heap.free_blocks, 0, sizeof heap.free_blocks);
  int error = write_region(path, "small", small_region, &heap.small);
  return error ? error : write_region(path, "large", large_region, &heap.large);
}
