// A device's handle of cuDNN.
#pragma once

#include <mutex>

#include "cudnn_api.h"
#include "device.h"
#include "error.h"

namespace fracstride {

// The handle of a device. All environments share it, as they share the device's stream, one call at a time.
class CudnnChannel {
 public:
  CudnnChannel(Device& device, cudnn::Handle handle, void* stream)
      : device_(device), handle_(handle), stream_(stream) {}

  // Holds the handle, which is on the stream for work of this thread; what is recorded gets another stream only for as
  // long as that lives.
  class Use {
   public:
    Use(CudnnChannel& channel, const char* where) : channel_(channel), lock_(channel.mutex_) {
      const LibraryStreams streams = channel.device_.enter_library(where);
      channel.move(streams.now, where);
      own_ = streams.own;
    }
    ~Use() {
      try {
        channel_.move(own_, "");
      } catch (const Error&) {  // the next use tries again
      }
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    cudnn::Handle handle() const { return channel_.handle_; }

   private:
    CudnnChannel& channel_;
    std::unique_lock<std::mutex> lock_;
    void* own_;
  };

 private:
  void move(void* stream, const char* where);

  Device& device_;
  const cudnn::Handle handle_;
  void* stream_;
  std::mutex mutex_;
};

// Made on first use; throws ERR_ARGUMENT for a device that cuDNN cannot use, ERR_OUT_OF_MEMORY, and
// ERR_DEVICE_UNAVAILABLE where the library does not start.
CudnnChannel& cudnn_channel_of(Device& device);

}  // namespace fracstride
