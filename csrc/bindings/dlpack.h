// The part of DLPack 1.x that this project reads: the layout of a tensor view and of the C exchange
// API that tensor types publish as `__dlpack_c_exchange_api__`. Written from the published layout.
#pragma once

#include <cstdint>

namespace avts::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Device {
  int32_t type, id;
};
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements
  uint64_t byte_offset;
};

struct Version {
  uint32_t major, minor;
};
struct ManagedTensor {
  Version version;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
  uint64_t flags;
  Tensor tensor;
};
struct ExchangeApiHeader {
  Version version;
  ExchangeApiHeader* previous;
};
struct ExchangeApi {
  ExchangeApiHeader header;
  // A new tensor of the prototype's type, shape and device. `fail` is called if there is none.
  int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context,
                  void (*fail)(void* context, const char* kind, const char* message));
  void* from_python;
  // The framework's own object of a tensor, which it takes over.
  int (*to_python)(ManagedTensor* tensor, void** out);
  // Fills a borrowed view of the tensor object; valid while the object lives and is not resized.
  int (*view)(void* object, Tensor* out);
  // The stream that the framework would queue work on.
  int (*current_stream)(int32_t device_type, int32_t device_id, void** out);
};

}  // namespace avts::dlpack
