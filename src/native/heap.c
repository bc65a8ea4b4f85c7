/*
 * An image is a range of memory at a fixed address and a segment of the executable, so that the kernel maps it before the first
 * instruction runs: no /proc, no system call. Pages that a call writes to are copied, and they are few: references to what is in
 * the image are not counted (see scripts/build/changes.ts), and none of it is ever freed.
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

#ifdef __SANITIZE_ADDRESS__
/* The sanitizer watches the blocks of libc. Such a host takes no image, and has no use for the functions of ours. */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

enum {
  HEADER = 8,           /* bytes before each block outside of the image: its size */
  EXACT = 130,          /* free blocks of less than 8 * EXACT bytes are kept by size, */
  CLASSES = EXACT + 54, /* larger ones by powers of two */
  CHUNK = 1 << 20,      /* bytes taken from the kernel at once */
  REGION = 64 << 20,    /* bytes for an image while it is made */
  LARGE = 64 << 10,     /* bytes of a block whose pages are worth a system call */
};
#ifdef __aarch64__
#define PAGE 65536 /* bytes; the largest that a kernel may have */
#else
#define PAGE 4096
#endif
#define TEXT(value) #value
#define TEXT_OF(value) TEXT(value)
#define MAGIC UINT64_C(0x656e696c776f62)

/* Blocks are cut off at `next`. */
typedef struct { uint8_t *next, *end; } Area;

typedef struct {
  uint64_t magic;
  bool (*written_by)(void); /* differs in any other program */
  uint64_t *last;           /* the last word, which is the magic again: it is there if the whole image is */
  Root root;
  Area image, fresh;
  void *free_blocks[CLASSES];
} Heap;

/* The linker places the section at an address of its own (heap.ld). It takes no room in the file until an image is appended. */
__asm__(".pushsection .heap,\"aw\",%nobits\n.balign " TEXT_OF(PAGE) "\nheap_region: .zero 67108864\n.popsection");
extern uint8_t heap_region[] __attribute__((visibility("hidden")));
#define heap (*(Heap *)heap_region)

/* The sizes of the image's blocks by their offset in units of 8 bytes. They are needed only while the image is made. */
static uint32_t *image_sizes;

/* Blocks below `end` are never freed; their references share one counter. `used` is the sum of the sizes of all other blocks. */
struct { uintptr_t end; int count; size_t used; } heap_state;

static bool is_in_image(const void *block) {
  return (const uint8_t *)block >= heap_region && (const uint8_t *)block < heap_region + REGION;
}

static uint32_t *image_size_of(const void *block) { return &image_sizes[((const uint8_t *)block - heap_region) / 8]; }

static size_t size_of(const void *block) {
  if (!is_in_image(block)) return ((const size_t *)block)[-1];
  return image_sizes ? *image_size_of(block) : 0;
}

static void set_size(void *block, size_t size) {
  if (is_in_image(block)) *image_size_of(block) = (uint32_t)size;
  else ((size_t *)block)[-1] = size;
}

static int power_of(size_t size) { return 63 - __builtin_clzll(size); }

static int class_of(size_t size) { return size < 8 * EXACT ? (int)(size >> 3) : EXACT + power_of(size) - 10; }

/* Large blocks outside of the image have the size of their class, so that each block of a class fits every request for it. */
static size_t rounded(size_t size) {
  if (size < 8 * EXACT || image_sizes) return size ? (size + 7) & ~(size_t)7 : 8;
  return (size_t)2 << power_of(size - 1);
}

static bool add_chunk(size_t size) {
  size_t bytes = (size + HEADER + CHUNK - 1) & ~(size_t)(CHUNK - 1);
  uint8_t *chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (chunk == MAP_FAILED) return false;
  heap.fresh = (Area){chunk, chunk + bytes};
  return true;
}

static Area *current_area(void) { return image_sizes ? &heap.image : &heap.fresh; }

static void put_aside(void *block, size_t size) {
  void **list = &heap.free_blocks[class_of(size)];
  set_size(block, size);
  *(void **)block = *list;
  *list = block;
}

/* Cuts a block off a larger free one: the image becomes 80 kB smaller. */
static void *take_part(size_t size) {
  for (int i = class_of(size) + 1; i < CLASSES; i++) {
    void *block = heap.free_blocks[i];
    if (!block) continue;
    size_t rest = size_of(block) - size;
    heap.free_blocks[i] = *(void **)block;
    set_size(block, size);
    if (rest) put_aside((uint8_t *)block + size, rest);
    return block;
  }
  return NULL;
}

/* A new block is zero and stays untouched: a page that a call never writes to costs neither a fault nor memory. */
static void *allocate(size_t wanted, bool *is_new) {
  *is_new = false;
  if (wanted > PTRDIFF_MAX / 4) return NULL;
  size_t size = rounded(wanted), header = image_sizes ? 0 : HEADER;
  void **list = &heap.free_blocks[class_of(size)];
  void *block = *list;
  if (block && size_of(block) >= size) {
    *list = *(void **)block;
    heap_state.used += size_of(block);
    return block;
  }
  heap_state.used += size;
  if (image_sizes && (block = take_part(size))) return block;
  Area *area = current_area();
  if ((size_t)(area->end - area->next) < header + size && (image_sizes || !add_chunk(size))) return NULL;
  *is_new = true;
  block = area->next + header;
  area->next += header + size;
  set_size(block, size);
  return block;
}

static void *heap_malloc(void *opaque, size_t size) {
  (void)opaque;
  bool is_new;
  /* Nearly all requests are small, and such a block is free. */
  void **list = size <= 8 * EXACT - 8 ? &heap.free_blocks[(size + 7) / 8] : NULL;
  void *block = list ? *list : NULL;
  if (!block) return allocate(size, &is_new);
  *list = *(void **)block;
  heap_state.used += (size + 7) & ~(size_t)7;
  return block;
}

/* Most of a large block was never written to, such as a buffer for answers. Its pages go back to the kernel, and new ones are zero. */
static void clear(uint8_t *block, size_t bytes) {
  uint8_t *first = block + (-(uintptr_t)block & (PAGE - 1)), *last = block + bytes - ((uintptr_t)(block + bytes) & (PAGE - 1));
  bool is_given_back = bytes >= LARGE && first < last && madvise(first, (size_t)(last - first), MADV_DONTNEED) == 0;
  if (!is_given_back) first = last = block + bytes;
  memset(block, 0, (size_t)(first - block));
  memset(last, 0, (size_t)(block + bytes - last));
}

static void *heap_calloc(void *opaque, size_t count, size_t size) {
  (void)opaque;
  size_t bytes;
  bool is_new;
  void *block = __builtin_mul_overflow(count, size, &bytes) ? NULL : allocate(bytes, &is_new);
  if (block && !is_new) clear(block, bytes);
  return block;
}

static void heap_free(void *opaque, void *block) {
  (void)opaque;
  if (!block || (is_in_image(block) && !image_sizes)) return;
  size_t size = size_of(block);
  heap_state.used -= size;
  put_aside(block, size);
}

/* Grows the newest block in place, which is usual for an array that elements are appended to. */
static bool grow_newest(uint8_t *block, size_t size) {
  Area *area = current_area();
  if (block + size_of(block) != area->next || (size_t)(area->end - block) < size) return false;
  heap_state.used += size - size_of(block);
  set_size(block, size);
  area->next = block + size;
  return true;
}

static void *heap_realloc(void *opaque, void *block, size_t size) {
  if (!block) return heap_malloc(opaque, size);
  size_t have = size_of(block);
  if (size <= have || (have && grow_newest(block, rounded(size)))) return block;
  void *moved = heap_malloc(opaque, size);
  if (!moved) return NULL;
  /* The size of a block of the image is not known. The rest of the image follows it, so copying too much does no harm. */
  size_t left = is_in_image(block) ? (size_t)(heap.image.next - (uint8_t *)block) : have;
  memcpy(moved, block, have ? have : left < size ? left : size);
  heap_free(opaque, block);
  return moved;
}

static size_t heap_usable_size(const void *block) { return block ? size_of(block) : 0; }

#ifdef __SANITIZE_ADDRESS__
static size_t libc_usable_size(const void *block) { return malloc_usable_size((void *)block); }
static void *counted(void *block) { return heap_state.used += libc_usable_size(block), block; }
static void *uncounted(void *block) { return heap_state.used -= libc_usable_size(block), block; }
static void *libc_malloc(void *opaque, size_t size) { return (void)opaque, counted(malloc(size)); }
static void *libc_calloc(void *opaque, size_t count, size_t size) { return (void)opaque, counted(calloc(count, size)); }
static void libc_free(void *opaque, void *block) { (void)opaque, free(uncounted(block)); }
static void *libc_realloc(void *opaque, void *block, size_t size) {
  (void)opaque;
  void *moved = realloc(uncounted(block), size);
  counted(moved ? moved : block);
  return moved;
}
const JSMallocFunctions heap_functions = {libc_calloc, libc_malloc, libc_free, libc_realloc, libc_usable_size};
#else
const JSMallocFunctions heap_functions = {heap_calloc, heap_malloc, heap_free, heap_realloc, heap_usable_size};
#endif

Root *heap_root(void) { return &heap.root; }

bool heap_restore(void) {
  if (heap.magic != MAGIC || heap.written_by != heap_restore || *heap.last != MAGIC) return false;
  heap_state.end = (uintptr_t)heap_region + REGION;
  heap_state.count = 1 << 30;
  return true;
}

void heap_read_ahead(void) {
  for (const volatile uint8_t *line = heap_region; line < (uint8_t *)heap.last; line += 64) (void)*line;
}

int heap_begin_image(void) {
  void *sizes = mmap(NULL, REGION / 8 * sizeof *image_sizes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sizes == MAP_FAILED) return errno;
  image_sizes = sizes;
  heap.image = (Area){heap_region + ((sizeof heap + 7) & ~(size_t)7), heap_region + REGION};
  memset(heap.free_blocks, 0, sizeof heap.free_blocks);
  return 0;
}

/* What was in a free block may be an address of the stack, which differs each time. */
static void clear_free_blocks(void) {
  for (int i = 0; i < CLASSES; i++)
    for (void *block = heap.free_blocks[i], *next; block; block = next) {
      next = *(void **)block;
      memset(block, 0, size_of(block));
    }
  memset(heap.free_blocks, 0, sizeof heap.free_blocks);
}

int heap_write_image(const char *path) {
  size_t bytes = ((size_t)(heap.image.next - heap_region) + sizeof *heap.last + 4095) & ~(size_t)4095;
  heap.last = (uint64_t *)(heap_region + bytes) - 1;
  heap.magic = *heap.last = MAGIC;
  heap.written_by = heap_restore;
  heap.fresh = (Area){NULL, NULL};
  clear_free_blocks();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ssize_t written = fd < 0 ? -1 : write(fd, heap_region, bytes);
  return written == (ssize_t)bytes ? 0 : written < 0 ? errno : EIO;
}
