// CUDA images compiled ahead of time and linked into the addon as data. The table is written by the build
// (build/generated/cuda/images.cc); it is empty when the build found no CUDA compiler.
#pragma once

#include <stddef.h>

struct EmbeddedImage {
  const char* kernel;  // full kernel name, its last zone is the target
  const char* target;  // "sm_90", "ptx"
  const unsigned char* data;
  size_t size;
};

extern const EmbeddedImage fs_embedded_images[];
extern const size_t fs_embedded_image_count;
