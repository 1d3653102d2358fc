// A libcuda.so.1 that launches nothing and remembers the last launch, so that Triton's C launcher runs on a
// machine without a GPU. `fake_sizes` says how many bytes each kernel parameter has; 0 ends the list.
#include <cuda.h>
#include <string.h>

int fake_sizes[64];
unsigned long long fake_params[64];
unsigned fake_grid[3], fake_block[3], fake_shared;
unsigned long long fake_stream, fake_function, fake_module_bytes;
int fake_launches;

CUresult cuGetErrorString(CUresult error, const char **text) { *text = "fake error"; return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) { *context = (CUcontext)1; return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  *value = 232448; // shared memory a block can opt into on Hopper; the other attributes do not matter here
  return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  memcpy(&fake_module_bytes, image, sizeof fake_module_bytes);
  *module = (CUmodule)0x11;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  *function = (CUfunction)0x22;
  return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024
           : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS            ? 40
                                                                : 0;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) { return CUDA_SUCCESS; }
CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache config) { return CUDA_SUCCESS; }
// Python resolves every symbol when it loads Triton's modules; these are not called here.
CUresult cuCtxGetDevice(CUdevice *device) { return 0; }
CUresult cuCtxGetLimit(size_t *value, CUlimit limit) { return 0; }
CUresult cuCtxSetCurrent(CUcontext context) { return 0; }
CUresult cuCtxSetLimit(CUlimit limit, size_t value) { return 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { return 0; }
CUresult cuDriverGetVersion(int *version) { return 0; }
CUresult cuModuleUnload(CUmodule module) { return 0; }
CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer) { return 0; }
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) { return 0; }
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params, void **extra) {
  fake_grid[0] = config->gridDimX, fake_grid[1] = config->gridDimY, fake_grid[2] = config->gridDimZ;
  fake_block[0] = config->blockDimX, fake_block[1] = config->blockDimY, fake_block[2] = config->blockDimZ;
  fake_shared = config->sharedMemBytes;
  fake_stream = (unsigned long long)config->hStream;
  fake_function = (unsigned long long)function;
  for (int i = 0; fake_sizes[i]; ++i) {
    fake_params[i] = 0;
    memcpy(&fake_params[i], params[i], fake_sizes[i]);
  }
  ++fake_launches;
  return CUDA_SUCCESS;
}
