// The library that cudnn.h speaks of: opened on first use, its entries, and what its statuses say.
#pragma once

#include <mutex>
#include <string>

#include "cudnn.h"
#include "cudnn_api.h"

namespace fracstride {

struct CudnnLibrary {
  cudnn::Entries call;
  std::mutex mutex;  // of `info`, which may still turn out to be worse than it looked
  CudnnInfo info;
};

CudnnLibrary& cudnn_library();

// Where the parts of the library belong; the end of a sentence.
extern const char* const kCudnnPartsAdvice;

[[noreturn]] void cudnn_unavailable(const char* where, const std::string& reason);

// `CUDNN_STATUS_BAD_PARAM (2000)`, and what cuDNN has to say about it.
std::string explain(const cudnn::Entries& call, cudnn::Status status);

}  // namespace fracstride
