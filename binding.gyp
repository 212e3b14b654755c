# The addon: cuda/ (devices, registry, the napi door) and cpu/ (the CPU device), plus one static library for each CPU
# instruction set, so that no other object is compiled with its flags. Nothing of CUDA is needed to build or link:
# libcuda is opened at run time, images made ahead of time arrive as data in build/generated/cuda/images.cc.
# scripts/build.mjs is the only caller; it generates build/generated first.
{
  'variables': {
    'list': 'node scripts/list_sources.mjs',
  },
  'target_defaults': {
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20', '-std=gnu++1y'],
    'cflags_cc': ['-std=c++17', '-fexceptions', '-frtti', '-Wall', '-Wextra', '-Wno-unused-parameter'],
    'cflags': ['-fPIC', '-fvisibility=hidden', '-pthread'],
    'xcode_settings': {
      'CLANG_CXX_LANGUAGE_STANDARD': 'c++17',
      'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
      'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
      'MACOSX_DEPLOYMENT_TARGET': '11.0',
    },
    'msvs_settings': {'VCCLCompilerTool': {'ExceptionHandling': 1, 'AdditionalOptions': ['/std:c++17']}},
    'include_dirs': ['.', 'cuda', 'cpu', 'build/generated/cpu'],
  },
  'targets': [
    {
      'target_name': 'fracstride',
      'sources': ['<!@(<(list) main)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      # A worker that is being terminated takes no exception; without the last word that would end the process.
      'defines': ['NAPI_VERSION=8', 'NAPI_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
      'dependencies': ['cpu_baseline'],
      'conditions': [
        ['target_arch=="x64"', {'dependencies': ['cpu_avx2', 'cpu_avx512']}],
        ['OS=="linux"', {'libraries': ['-ldl', '-pthread']}],
      ],
    },
    {
      'target_name': 'cpu_baseline',
      'type': 'static_library',
      'sources': ['<!@(<(list) baseline)'],
      'cflags': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math'],
      'xcode_settings': {'OTHER_CFLAGS': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math']},
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'cpu_avx2',
          'type': 'static_library',
          'sources': ['<!@(<(list) avx2)'],
          'cflags': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-mavx2', '-mfma', '-mf16c'],
          'xcode_settings': {'OTHER_CFLAGS': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math', '-mavx2', '-mfma', '-mf16c']},
          'msvs_settings': {'VCCLCompilerTool': {'AdditionalOptions': ['/arch:AVX2']}},
        },
        {
          'target_name': 'cpu_avx512',
          'type': 'static_library',
          'sources': ['<!@(<(list) avx512)'],
          'cflags': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math',
                     '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mfma', '-mf16c'],
          'xcode_settings': {'OTHER_CFLAGS': ['-O3', '-ffp-contract=fast', '-fno-math-errno', '-fno-trapping-math',
                                              '-mavx512f', '-mavx512dq', '-mavx512bw', '-mavx512vl', '-mfma', '-mf16c']},
          'msvs_settings': {'VCCLCompilerTool': {'AdditionalOptions': ['/arch:AVX512']}},
        },
      ],
    }],
  ],
}
