#include "cudnn_channel.h"

#include <map>
#include <memory>
#include <string>

#include "cudnn_library.h"

namespace fracstride {

void CudnnChannel::move(void* stream, const char* where) {
  if (stream == stream_) return;
  const cudnn::Entries& call = cudnn_library().call;
  const cudnn::Status status = call.set_stream(handle_, static_cast<cudnn::Stream>(stream));
  if (status != cudnn::kSuccess) {
    throw Error("ERR_CUDNN",
                std::string(where) + ": setting the stream of cuDNN must succeed, got " + explain(call, status));
  }
  stream_ = stream;
}

namespace {

std::unique_ptr<CudnnChannel> make_channel(Device& device) {
  const char* const where = "cudnnPlan";
  CudnnLibrary& library = cudnn_library();
  const LibraryStreams streams = device.enter_library(where);
  if (streams.own == nullptr) {
    throw Error("ERR_ARGUMENT",
                std::string(where) + ": device must be one that cuDNN can use, got " + std::string(device.label()));
  }
  cudnn::Handle handle = nullptr;
  cudnn::Status status = library.call.create(&handle);
  if (status == cudnn::kSuccess) {
    status = library.call.set_stream(handle, static_cast<cudnn::Stream>(streams.own));
    if (status == cudnn::kSuccess) return std::make_unique<CudnnChannel>(device, handle, streams.own);
  }
  const std::string got = explain(library.call, status);
  device.check_library(where);
  if (got.find("ALLOC") != std::string::npos) {
    throw Error("ERR_OUT_OF_MEMORY", std::string(where) + ": cuDNN must find memory to start, got " + got);
  }
  std::lock_guard<std::mutex> lock(library.mutex);
  library.info.available = false;
  library.info.reason = "starting " + library.info.path + " failed with " + got + kCudnnPartsAdvice +
                        ", and check that it was built for a CUDA version that the driver can run";
  cudnn_unavailable(where, library.info.reason);
}

}  // namespace

CudnnChannel& cudnn_channel_of(Device& device) {
  static std::mutex mutex;
  static auto* const channels = new std::map<const Device*, std::unique_ptr<CudnnChannel>>;
  std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<CudnnChannel>& found = (*channels)[&device];
  if (found == nullptr) found = make_channel(device);
  return *found;
}

}  // namespace fracstride
