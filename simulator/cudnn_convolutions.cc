// Convolutions and sums of the stand-in for libcudnn: what is checked at the call, and what runs in the stream.
#include <algorithm>
#include <cstdio>
#include <functional>

#include "cudnn_state.h"

namespace simulator::cudnn {

namespace {

std::string shown(const int (&extents)[4]) {
  std::string text = "[";
  for (int axis = 0; axis < 4; ++axis) text += (axis == 0 ? "" : ", ") + std::to_string(extents[axis]);
  return text + "]";
}

const Tensor& tensor_of(const State& s, TensorDescriptor name, const char* what) {
  const Tensor* tensor = s.tensors.find(name);
  require(tensor != nullptr, kBAD_PARAM, std::string(what) + " descriptor must be one that was made and that lives");
  require(tensor->set, kBAD_PARAM, std::string(what) + " descriptor must be set");
  return *tensor;
}

const Filter& filter_of(const State& s, FilterDescriptor name, const char* what) {
  const Filter* filter = s.filters.find(name);
  require(filter != nullptr, kBAD_PARAM, std::string(what) + " descriptor must be one that was made and that lives");
  require(filter->set, kBAD_PARAM, std::string(what) + " descriptor must be set");
  return *filter;
}

const Convolution& convolution_of(const State& s, ConvolutionDescriptor name) {
  const Convolution* found = s.convolutions.find(name);
  require(found != nullptr, kBAD_PARAM, "convolution descriptor must be one that was made and that lives");
  require(found->set, kBAD_PARAM, "convolution descriptor must be set");
  return *found;
}

// Whether the elements lie densely in the order that the format says; axes of one element may have any stride.
bool dense(const Shape& shape, Enum format) {
  const int orders[2][4] = {{3, 2, 1, 0}, {1, 3, 2, 0}};
  int64_t next = 1;
  for (const int axis : orders[format]) {
    if (shape.extents[axis] != 1 && shape.strides[axis] != next) return false;
    next *= shape.extents[axis];
  }
  return true;
}

void require_dense(const Shape& shape, Enum format, const char* what) {
  require(dense(shape, kNchw) || dense(shape, kNhwc), kNOT_SUPPORTED_LAYOUT,
          std::string(what) + " must lie densely in NCHW or NHWC");
  require(dense(shape, format), kNOT_SUPPORTED_LAYOUT,
          std::string(what) + " must be " + (format == kNchw ? "NCHW" : "NHWC") + " as the filter is");
}

int output_extent(const Problem& p, int axis) {
  const int64_t span = int64_t(p.kernel(axis) - 1) * p.dilation[axis] + 1;
  const int64_t padded = p.x.extents[2 + axis] + 2 * int64_t(p.pad[axis]);
  require(padded >= span, kBAD_PARAM_SHAPE_MISMATCH,
          "filter must not reach beyond the padded map, got " + cudnn::shown(span) + " on " + cudnn::shown(padded));
  return int((padded - span) / p.stride[axis] + 1);
}

// All of a problem but y.
Problem half_of_problem(Form form, const Tensor& x, const Filter& w, const Convolution& made) {
  Problem p;
  p.form = form;
  p.x = x;
  p.w = w;
  std::copy(made.pad, made.pad + 2, p.pad);
  std::copy(made.stride, made.stride + 2, p.stride);
  std::copy(made.dilation, made.dilation + 2, p.dilation);
  p.flipped = made.mode == kConvolve;
  p.groups = made.groups;
  p.nhwc = w.format == kNhwc;
  p.math = made.math;
  require(x.type == w.type, kBAD_PARAM, "data types of map and filter must be the same");
  require(x.extents[1] % p.groups == 0 && w.extents[0] % p.groups == 0, kBAD_PARAM,
          "groups must divide the channels, got " + cudnn::shown(p.groups) + " groups of " +
              cudnn::shown(x.extents[1]) + " and " + cudnn::shown(w.extents[0]));
  require(w.extents[1] == x.extents[1] / p.groups, kBAD_PARAM_SHAPE_MISMATCH,
          "filter must have as many channels as a group of the map, got " + cudnn::shown(w.extents[1]) + " of " +
              cudnn::shown(x.extents[1] / p.groups));
  return p;
}

Problem make_problem(const State& s, Form form, TensorDescriptor x_name, FilterDescriptor w_name,
                     TensorDescriptor y_name, ConvolutionDescriptor name) {
  const char* const names[3][3] = {{"x", "w", "y"}, {"dx", "w", "dy"}, {"x", "dw", "dy"}};
  const auto& [x_text, w_text, y_text] = names[int(form)];
  const Tensor& x = tensor_of(s, x_name, x_text);
  const Filter& w = filter_of(s, w_name, w_text);
  const Tensor& y = tensor_of(s, y_name, y_text);
  const Convolution& made = convolution_of(s, name);
  Problem p = half_of_problem(form, x, w, made);
  p.y = y;
  require(y.type == x.type, kBAD_PARAM, "data types of both maps must be the same");
  require(made.compute == (x.type == kDouble ? kDouble : kFloat), kNOT_SUPPORTED_DATA_TYPE,
          "compute type must be double for double data and float for others");
  const int wanted[] = {x.extents[0], w.extents[0], output_extent(p, 0), output_extent(p, 1)};
  require(std::equal(wanted, wanted + 4, y.extents), kBAD_PARAM_SHAPE_MISMATCH,
          std::string(y_text) + " must be " + shown(wanted) + " by the others, got " + shown(y.extents));
  require_dense(x, w.format, x_text);
  require_dense(y, w.format, y_text);
  return p;
}

void require_legal(const Problem& p, Enum algo) {
  const Verdict verdict = legal(p, algo, find_driver().arch());
  require(verdict.status == kSUCCESS, verdict.status, verdict.rule + ", got algorithm " + cudnn::shown(algo));
}

driver::Pointer address(const void* pointer) {
  return reinterpret_cast<driver::Pointer>(pointer);
}

// A piece of device memory that a call was given.
struct Piece {
  const char* name;
  driver::Pointer at = 0;
  uint64_t bytes = 0;
};

void require_piece(const Library& library, const Piece& piece, uint64_t alignment) {
  require(piece.at != 0, kBAD_PARAM_NULL_POINTER, std::string(piece.name) + " must not be null");
  require(piece.at % alignment == 0, kBAD_PARAM_MISALIGNED_POINTER,
          std::string(piece.name) + " must be aligned to " + cudnn::shown(int64_t(alignment)) + " bytes");
  char place[256] = "";
  if (find_driver().host(library.context, piece.at, piece.bytes, place, sizeof place) == nullptr) {
    refuse(kBAD_PARAM, std::string(piece.name) + " must have " + cudnn::shown(int64_t(piece.bytes)) +
                           " bytes in one allocation of the device, got a pointer " + place);
  }
}

void require_apart(const Piece& a, const Piece& b) {
  require(a.at + a.bytes <= b.at || b.at + b.bytes <= a.at, kBAD_PARAM,
          std::string(a.name) + " and " + b.name + " must not overlap");
}

void require_stream(const Library& library) {
  driver::Enum capturing = 0;
  const driver::Result result = find_driver().capturing(library.stream, &capturing);
  require(result != driver::kERROR_INVALID_HANDLE, kBAD_PARAM_STREAM_MISMATCH,
          "stream of the handle must live, got one that was destroyed");
  require(result == driver::kSUCCESS, kEXECUTION_FAILED,
          "the driver must be able to take work, got its error " + cudnn::shown(result));
}

double factor(Enum type, const void* from, const char* name) {
  require_pointer(from, name);
  return type == kDouble ? *static_cast<const double*>(from) : *static_cast<const float*>(from);
}

// What runs in the stream: `compute` with the pieces on the host.
struct Work {
  std::string name;
  const Driver* driver = nullptr;
  driver::ContextHandle context = nullptr;
  std::vector<Piece> pieces;
  Piece workspace;
  std::function<void(const std::vector<void*>&)> compute;
};

constexpr uint64_t kMarked = 1 << 20;

// A workspace belongs to the call while it runs: its beginning is marked, and the marks have to be there at the end.
void mark(void* workspace, uint64_t bytes, uint64_t seed) {
  auto* words = static_cast<uint32_t*>(workspace);
  for (uint64_t i = 0; i < std::min(bytes, kMarked) / 4; ++i) words[i] = uint32_t(seed * 0x9e3779b9u + i) | 0x7fc00000u;
}

bool marked(const void* workspace, uint64_t bytes, uint64_t seed) {
  const auto* words = static_cast<const uint32_t*>(workspace);
  for (uint64_t i = 0; i < std::min(bytes, kMarked) / 4; ++i) {
    if (words[i] != (uint32_t(seed * 0x9e3779b9u + i) | 0x7fc00000u)) return false;
  }
  return true;
}

driver::Result fail(driver::Result result, const std::string& text, char* sentence, size_t size) {
  note_fault(text);
  std::snprintf(sentence, size, "%s", text.c_str());
  return result;
}

driver::Result run(void* data, char* sentence, size_t size) {
  const Work& work = *static_cast<const Work*>(data);
  std::vector<void*> hosts;
  const auto host = [&](const Piece& piece) {
    char place[256] = "";
    void* found = work.driver->host(work.context, piece.at, piece.bytes, place, sizeof place);
    if (found == nullptr) {
      fail(driver::kERROR_ILLEGAL_ADDRESS, work.name + ": " + piece.name + " pointed " + place + " when it ran",
           sentence, size);
    }
    return found;
  };
  for (const Piece& piece : work.pieces) {
    hosts.push_back(host(piece));
    if (hosts.back() == nullptr) return driver::kERROR_ILLEGAL_ADDRESS;
  }
  if (work.workspace.bytes == 0) {
    work.compute(hosts);
    return driver::kSUCCESS;
  }
  void* workspace = host(work.workspace);
  if (workspace == nullptr) return driver::kERROR_ILLEGAL_ADDRESS;
  const uint64_t seed = next_seed();
  mark(workspace, work.workspace.bytes, seed);
  work.compute(hosts);
  if (!marked(workspace, work.workspace.bytes, seed)) {
    return fail(driver::kERROR_LAUNCH_FAILED, work.name + ": its workspace was written by others while it ran",
                sentence, size);
  }
  return driver::kSUCCESS;
}

void enqueue(const Library& library, Work work) {
  auto* kept = new Work(std::move(work));
  const driver::Task task = {"cuDNN", run, [](void* data) { delete static_cast<Work*>(data); }, kept};
  const driver::Result result = find_driver().enqueue(library.stream, &task);
  require(result == driver::kSUCCESS, kEXECUTION_FAILED,
          "the driver must be able to take work, got its error " + cudnn::shown(result));
}

// The pointers of a convolution: what it reads, what it writes.
struct Pointers {
  const void *a = nullptr, *b = nullptr;
  void* out = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

std::vector<Piece> pieces_of(const Problem& p, const Pointers& given) {
  switch (p.form) {
    case Form::kForward:
      return {{"x", address(given.a), p.x.bytes()},
              {"w", address(given.b), p.w.bytes()},
              {"y", address(given.out), p.y.bytes()}};
    case Form::kData:
      return {{"w", address(given.a), p.w.bytes()},
              {"dy", address(given.b), p.y.bytes()},
              {"dx", address(given.out), p.x.bytes()}};
    default:
      return {{"x", address(given.a), p.x.bytes()},
              {"dy", address(given.b), p.y.bytes()},
              {"dw", address(given.out), p.w.bytes()}};
  }
}

void convolve(Call& call, const Library& library, const Problem& p, Enum algo, const Pointers& given, double alpha,
              double beta) {
  require_legal(p, algo);
  require_stream(library);
  const int arch = find_driver().arch();
  const uint64_t needed = workspace(p, algo, arch, call.s.config.workspace);
  Work work{
      call.entry, &find_driver(), library.context, pieces_of(p, given), {"workspace", address(given.workspace), needed},
      {}};
  for (const Piece& piece : work.pieces) require_piece(library, piece, uint64_t(element_bytes(p.type())));
  require_apart(work.pieces[2], work.pieces[0]);
  require_apart(work.pieces[2], work.pieces[1]);
  if (needed != 0) {
    require(given.workspace_bytes >= needed, kBAD_PARAM_SIZE_INSUFFICIENT,
            "workspace must have " + cudnn::shown(int64_t(needed)) + " bytes for algorithm " + cudnn::shown(algo) +
                ", got " + cudnn::shown(int64_t(given.workspace_bytes)));
    require_piece(library, {"workspace", work.workspace.at, given.workspace_bytes}, 16);
    for (const Piece& piece : work.pieces) require_apart(work.workspace, piece);
  }
  const Arithmetic how = arithmetic(p, algo, arch);
  work.compute = [p, how, alpha, beta](const std::vector<void*>& hosts) {
    const uint64_t seed = how.sum == Sum::kShuffled ? next_seed() : 0;
    contract(p, how, seed, hosts[0], hosts[1], alpha, beta, hosts[2]);
  };
  enqueue(library, std::move(work));
  call.algorithm = algo;
}

void list(const std::vector<Performance>& rows, const State& s, int requested, Int returned, Performance* results) {
  require(requested > 0, kBAD_PARAM, "number of results must be positive, got " + cudnn::shown(requested));
  require_pointer(returned, "where to put the number of results");
  require_pointer(results, "where to put the results");
  *returned = std::min(requested, int(rows.size()));
  for (int i = 0; i < *returned; ++i) {
    results[i] = rows[size_t(i)];
    results[i].status = as_configured(s, results[i].status);
  }
}

// Runs the fastest for its results to be seen, and lists all as measured.
void find(Call& call, const Library& library, const Problem& p, const Pointers& given, int requested, Int returned,
          Performance* results) {
  const int arch = find_driver().arch();
  require_stream(library);
  for (const Piece& piece : pieces_of(p, given)) require_piece(library, piece, uint64_t(element_bytes(p.type())));
  const driver::Result waited = find_driver().synchronize(library.stream);
  require(waited == driver::kSUCCESS, kEXECUTION_FAILED,
          "stream must be one that can be waited for, got the driver's error " + cudnn::shown(waited));
  std::vector<Performance> rows = ranked(p, arch, call.s.config.workspace, true);
  for (Performance& row : rows) {
    if (row.status == kSUCCESS && row.memory > given.workspace_bytes) {
      row.status = kINTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
      row.time = -1;
    }
  }
  std::stable_partition(rows.begin(), rows.end(), [](const Performance& row) { return row.status == kSUCCESS; });
  require(rows[0].status == kSUCCESS, kNOT_SUPPORTED, "an algorithm must be able to run, got none");
  Problem fastest = p;
  fastest.math = rows[0].math;
  convolve(call, library, fastest, rows[0].algo, given, 1, 0);
  call.algorithm = -1;
  const driver::Result ran = find_driver().synchronize(library.stream);
  require(ran == driver::kSUCCESS, kEXECUTION_FAILED,
          "algorithms must run, got the driver's error " + cudnn::shown(ran));
  list(rows, call.s, requested, returned, results);
}

Status count_algorithms(const char* name, Handle handle, Form form, Int count) {
  return entry(name, handle, [&](Call&, Library&) {
    require_pointer(count, "where to put the number of algorithms");
    *count = 2 * kAlgorithms[int(form)];
  });
}

Status guess(const char* name, Handle handle, Form form, TensorDescriptor x, FilterDescriptor w, TensorDescriptor y,
             ConvolutionDescriptor desc, int requested, Int returned, Performance* results) {
  return entry(name, handle, [&](Call& call, Library&) {
    const Problem p = make_problem(call.s, form, x, w, y, desc);
    list(ranked(p, find_driver().arch(), call.s.config.workspace, false), call.s, requested, returned, results);
  });
}

Status ask_workspace(const char* name, Handle handle, Form form, TensorDescriptor x, FilterDescriptor w,
                     TensorDescriptor y, ConvolutionDescriptor desc, Enum algo, Size bytes) {
  return entry(name, handle, [&](Call& call, Library&) {
    require_pointer(bytes, "where to put the size");
    const Problem p = make_problem(call.s, form, x, w, y, desc);
    require_legal(p, algo);
    *bytes = size_t(workspace(p, algo, find_driver().arch(), call.s.config.workspace));
    call.algorithm = algo;
  });
}

}  // namespace

extern "C" {

Status cudnnGetConvolution2dForwardOutputDim(ConvolutionDescriptor desc, TensorDescriptor x, FilterDescriptor w, Int n,
                                             Int c, Int h, Int width) {
  return entry("cudnnGetConvolution2dForwardOutputDim", [&](Call& call) {
    const Problem p = half_of_problem(Form::kForward, tensor_of(call.s, x, "x"), filter_of(call.s, w, "w"),
                                      convolution_of(call.s, desc));
    for (const Int pointer : {n, c, h, width}) require_pointer(pointer, "where to put an extent");
    *n = p.x.extents[0];
    *c = p.w.extents[0];
    *h = output_extent(p, 0);
    *width = output_extent(p, 1);
  });
}

Status cudnnGetConvolutionForwardAlgorithmMaxCount(Handle handle, Int count) {
  return count_algorithms("cudnnGetConvolutionForwardAlgorithmMaxCount", handle, Form::kForward, count);
}
Status cudnnGetConvolutionBackwardDataAlgorithmMaxCount(Handle handle, Int count) {
  return count_algorithms("cudnnGetConvolutionBackwardDataAlgorithmMaxCount", handle, Form::kData, count);
}
Status cudnnGetConvolutionBackwardFilterAlgorithmMaxCount(Handle handle, Int count) {
  return count_algorithms("cudnnGetConvolutionBackwardFilterAlgorithmMaxCount", handle, Form::kFilter, count);
}

Status cudnnGetConvolutionForwardAlgorithm_v7(Handle handle, TensorDescriptor x, FilterDescriptor w,
                                              ConvolutionDescriptor desc, TensorDescriptor y, int requested,
                                              Int returned, Performance* results) {
  return guess("cudnnGetConvolutionForwardAlgorithm_v7", handle, Form::kForward, x, w, y, desc, requested, returned,
               results);
}
Status cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle handle, FilterDescriptor w, TensorDescriptor dy,
                                                   ConvolutionDescriptor desc, TensorDescriptor dx, int requested,
                                                   Int returned, Performance* results) {
  return guess("cudnnGetConvolutionBackwardDataAlgorithm_v7", handle, Form::kData, dx, w, dy, desc, requested, returned,
               results);
}
Status cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle handle, TensorDescriptor x, TensorDescriptor dy,
                                                     ConvolutionDescriptor desc, FilterDescriptor dw, int requested,
                                                     Int returned, Performance* results) {
  return guess("cudnnGetConvolutionBackwardFilterAlgorithm_v7", handle, Form::kFilter, x, dw, dy, desc, requested,
               returned, results);
}

Status cudnnGetConvolutionForwardWorkspaceSize(Handle handle, TensorDescriptor x, FilterDescriptor w,
                                               ConvolutionDescriptor desc, TensorDescriptor y, Enum algo, Size bytes) {
  return ask_workspace("cudnnGetConvolutionForwardWorkspaceSize", handle, Form::kForward, x, w, y, desc, algo, bytes);
}
Status cudnnGetConvolutionBackwardDataWorkspaceSize(Handle handle, FilterDescriptor w, TensorDescriptor dy,
                                                    ConvolutionDescriptor desc, TensorDescriptor dx, Enum algo,
                                                    Size bytes) {
  return ask_workspace("cudnnGetConvolutionBackwardDataWorkspaceSize", handle, Form::kData, dx, w, dy, desc, algo,
                       bytes);
}
Status cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle handle, TensorDescriptor x, TensorDescriptor dy,
                                                      ConvolutionDescriptor desc, FilterDescriptor dw, Enum algo,
                                                      Size bytes) {
  return ask_workspace("cudnnGetConvolutionBackwardFilterWorkspaceSize", handle, Form::kFilter, x, dw, dy, desc, algo,
                       bytes);
}

Status cudnnFindConvolutionForwardAlgorithmEx(Handle handle, TensorDescriptor x_desc, Data x, FilterDescriptor w_desc,
                                              Data w, ConvolutionDescriptor desc, TensorDescriptor y_desc, Out y,
                                              int requested, Int returned, Performance* results, Out workspace,
                                              size_t workspace_bytes) {
  return entry("cudnnFindConvolutionForwardAlgorithmEx", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kForward, x_desc, w_desc, y_desc, desc);
    find(call, library, p, {x, w, y, workspace, workspace_bytes}, requested, returned, results);
  });
}
Status cudnnFindConvolutionBackwardDataAlgorithmEx(Handle handle, FilterDescriptor w_desc, Data w,
                                                   TensorDescriptor dy_desc, Data dy, ConvolutionDescriptor desc,
                                                   TensorDescriptor dx_desc, Out dx, int requested, Int returned,
                                                   Performance* results, Out workspace, size_t workspace_bytes) {
  return entry("cudnnFindConvolutionBackwardDataAlgorithmEx", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kData, dx_desc, w_desc, dy_desc, desc);
    find(call, library, p, {w, dy, dx, workspace, workspace_bytes}, requested, returned, results);
  });
}
Status cudnnFindConvolutionBackwardFilterAlgorithmEx(Handle handle, TensorDescriptor x_desc, Data x,
                                                     TensorDescriptor dy_desc, Data dy, ConvolutionDescriptor desc,
                                                     FilterDescriptor dw_desc, Out dw, int requested, Int returned,
                                                     Performance* results, Out workspace, size_t workspace_bytes) {
  return entry("cudnnFindConvolutionBackwardFilterAlgorithmEx", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kFilter, x_desc, dw_desc, dy_desc, desc);
    find(call, library, p, {x, dy, dw, workspace, workspace_bytes}, requested, returned, results);
  });
}

Status cudnnConvolutionForward(Handle handle, Data alpha, TensorDescriptor x_desc, Data x, FilterDescriptor w_desc,
                               Data w, ConvolutionDescriptor desc, Enum algo, Out workspace, size_t workspace_bytes,
                               Data beta, TensorDescriptor y_desc, Out y) {
  return entry("cudnnConvolutionForward", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kForward, x_desc, w_desc, y_desc, desc);
    convolve(call, library, p, algo, {x, w, y, workspace, workspace_bytes}, factor(p.type(), alpha, "alpha"),
             factor(p.type(), beta, "beta"));
  });
}
Status cudnnConvolutionBackwardData(Handle handle, Data alpha, FilterDescriptor w_desc, Data w,
                                    TensorDescriptor dy_desc, Data dy, ConvolutionDescriptor desc, Enum algo,
                                    Out workspace, size_t workspace_bytes, Data beta, TensorDescriptor dx_desc,
                                    Out dx) {
  return entry("cudnnConvolutionBackwardData", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kData, dx_desc, w_desc, dy_desc, desc);
    convolve(call, library, p, algo, {w, dy, dx, workspace, workspace_bytes}, factor(p.type(), alpha, "alpha"),
             factor(p.type(), beta, "beta"));
  });
}
Status cudnnConvolutionBackwardFilter(Handle handle, Data alpha, TensorDescriptor x_desc, Data x,
                                      TensorDescriptor dy_desc, Data dy, ConvolutionDescriptor desc, Enum algo,
                                      Out workspace, size_t workspace_bytes, Data beta, FilterDescriptor dw_desc,
                                      Out dw) {
  return entry("cudnnConvolutionBackwardFilter", handle, [&](Call& call, Library& library) {
    const Problem p = make_problem(call.s, Form::kFilter, x_desc, dw_desc, dy_desc, desc);
    convolve(call, library, p, algo, {x, dy, dw, workspace, workspace_bytes}, factor(p.type(), alpha, "alpha"),
             factor(p.type(), beta, "beta"));
  });
}

Status cudnnConvolutionBackwardBias(Handle handle, Data alpha, TensorDescriptor dy_desc, Data dy, Data beta,
                                    TensorDescriptor db_desc, Out db) {
  return entry("cudnnConvolutionBackwardBias", handle, [&](Call& call, Library& library) {
    const Tensor &from = tensor_of(call.s, dy_desc, "dy"), &to = tensor_of(call.s, db_desc, "db");
    require(from.type == to.type, kBAD_PARAM, "data types of dy and db must be the same");
    require(dense(from, kNchw) || dense(from, kNhwc), kNOT_SUPPORTED_LAYOUT, "dy must lie densely in NCHW or NHWC");
    const int wanted[] = {1, from.extents[1], 1, 1};
    require(std::equal(wanted, wanted + 4, to.extents), kBAD_PARAM_SHAPE_MISMATCH,
            "db must be " + shown(wanted) + ", got " + shown(to.extents));
    require(dense(to, kNchw), kNOT_SUPPORTED_LAYOUT, "db must lie densely");
    const double a = factor(from.type, alpha, "alpha"), b = factor(from.type, beta, "beta");
    require_stream(library);
    Work work{call.entry,
              &find_driver(),
              library.context,
              {{"dy", address(dy), from.bytes()}, {"db", address(db), to.bytes()}},
              {},
              {}};
    for (const Piece& piece : work.pieces) require_piece(library, piece, uint64_t(element_bytes(from.type)));
    require_apart(work.pieces[0], work.pieces[1]);
    const Shape source = from, target = to;
    work.compute = [=](const std::vector<void*>& hosts) { sum_to_bias(source, hosts[0], a, b, target, hosts[1]); };
    enqueue(library, std::move(work));
  });
}

Status cudnnAddTensor(Handle handle, Data alpha, TensorDescriptor a_desc, Data a, Data beta, TensorDescriptor c_desc,
                      Out c) {
  return entry("cudnnAddTensor", handle, [&](Call& call, Library& library) {
    const Tensor &from = tensor_of(call.s, a_desc, "A"), &to = tensor_of(call.s, c_desc, "C");
    require(from.type == to.type, kBAD_PARAM, "data types of A and C must be the same");
    for (int axis = 0; axis < 4; ++axis) {
      require(from.extents[axis] == 1 || from.extents[axis] == to.extents[axis], kBAD_PARAM_SHAPE_MISMATCH,
              "A must be 1 or as large as C along each axis, got " + shown(from.extents) + " on " + shown(to.extents));
    }
    for (const Tensor* each : {&from, &to}) {
      require(dense(*each, kNchw) || dense(*each, kNhwc), kNOT_SUPPORTED_LAYOUT,
              "tensors must lie densely in NCHW or NHWC");
    }
    const double scale = factor(from.type, alpha, "alpha"), kept = factor(from.type, beta, "beta");
    require_stream(library);
    Work work{call.entry,
              &find_driver(),
              library.context,
              {{"A", address(a), from.bytes()}, {"C", address(c), to.bytes()}},
              {},
              {}};
    for (const Piece& piece : work.pieces) require_piece(library, piece, uint64_t(element_bytes(from.type)));
    require_apart(work.pieces[0], work.pieces[1]);
    const Shape source = from, target = to;
    work.compute = [=](const std::vector<void*>& hosts) { add(source, hosts[0], scale, kept, target, hosts[1]); };
    enqueue(library, std::move(work));
  });
}

}  // extern "C"

}  // namespace simulator::cudnn
