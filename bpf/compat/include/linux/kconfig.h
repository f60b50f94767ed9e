/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bcc includes this file first. Its own headers expect the kernel's short integer names. */
#ifndef MAPXDP_COMPAT_KCONFIG_H
#define MAPXDP_COMPAT_KCONFIG_H

/* bcc refuses to work without the first, and brings its own copy of <linux/bpf.h>, beside
 * which the distribution's must not be read. */
#define CONFIG_BPF_SYSCALL 1
#define __LINUX_BPF_H__

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;

#endif
