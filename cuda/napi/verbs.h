// What JavaScript can call (src/native.ts), by file.
#pragma once

#include "call.h"

namespace fracstride {

// info.cc
Napi::Value cpu_info_verb(Call& call);
Napi::Value set_threads(Call& call);
Napi::Value cuda_info_verb(Call& call);
Napi::Value nvrtc_info_verb(Call& call);
Napi::Value nvrtc_compile_verb(Call& call);
Napi::Value cudnn_info_verb(Call& call);

// memory.cc
Napi::Value alloc(Call& call);
Napi::Value free_buffer(Call& call);
Napi::Value copy_in(Call& call);
Napi::Value copy_out(Call& call);
Napi::Value memory(Call& call);
Napi::Value empty_cache(Call& call);
Napi::Value set_memory_limit(Call& call);
Napi::Value debug_memory(Call& call);
Napi::Value check_guards(Call& call);

// reads.cc
Napi::Value copy_out_async(Call& call);

// kernels.cc
Napi::Value kernel_names(Call& call);
Napi::Value load(Call& call);
Napi::Value launch(Call& call);
Napi::Value sync(Call& call);

// graphs.cc
Napi::Value begin_capture(Call& call);
Napi::Value end_capture(Call& call);
Napi::Value abort_capture(Call& call);
Napi::Value replay_graph(Call& call);
Napi::Value free_graph(Call& call);

// cudnn.cc
Napi::Value cudnn_plan(Call& call);
Napi::Value cudnn_algorithms(Call& call);
Napi::Value cudnn_find(Call& call);
Napi::Value cudnn_choose(Call& call);
Napi::Value cudnn_run(Call& call);
Napi::Value cudnn_free(Call& call);

}  // namespace fracstride
