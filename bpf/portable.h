/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One text for two compilers: bcc, which loads it, and plain clang, whose warnings are better.
 *
 * Maps are created by the control plane before anything is compiled; bcc is handed their file
 * descriptors as -DFD_<name>. None of bcc's map macros is used, so that headers may touch maps
 * and nothing depends on bcc's source rewriting. Kernel helpers are declared here by number.
 */
#ifndef MAPXDP_PORTABLE_H
#define MAPXDP_PORTABLE_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include "contract.h"
#include "inline.h"
#include "maps.h"

#ifdef MAPXDP_BCC
#define PROGRAM		/* bcc puts every external function in a section of its own */
#define MAP(name)	((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_FD, FD_##name))
#define MAP_VALUE(name) ((void *)bpf_pseudo_fd(BPF_PSEUDO_MAP_VALUE, FD_##name))
#else
#define PROGRAM		__attribute__((section("tc"), used))
#define MAP(name)	((void *)&map_##name)
#define MAP_VALUE(name) ((void *)&map_##name)
#define MAPXDP_DEFINE_MAP(name, type_, key_, value_, entries, flags)                               \
	struct {                                                                                   \
		int (*type)[BPF_MAP_TYPE_##type_];                                                 \
		int (*max_entries)[entries];                                                       \
		key_ *key;                                                                         \
		value_ *value;                                                                     \
		int (*map_flags)[(flags) + 1];                                                     \
	} map_##name __attribute__((section(".maps"), used));
MAPXDP_MAPS(MAPXDP_DEFINE_MAP)
char _license[] __attribute__((section("license"), used)) = "GPL";
#endif

/* Newer than the headers of the oldest supported distribution. */
#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#endif

#define HELPER(type, name, number, ...) static type (*name)(__VA_ARGS__) = (void *)(number)
HELPER(void *, kernel_map_lookup, BPF_FUNC_map_lookup_elem, void *map, const void *key);
HELPER(long, kernel_map_update, BPF_FUNC_map_update_elem, void *map, const void *key,
       const void *value, __u64 flags);
HELPER(long, kernel_map_delete, BPF_FUNC_map_delete_elem, void *map, const void *key);
HELPER(__u64, kernel_jiffies64, BPF_FUNC_jiffies64, void);
HELPER(__u64, kernel_ktime_ns, BPF_FUNC_ktime_get_ns, void);
HELPER(__u32, kernel_cpu, BPF_FUNC_get_smp_processor_id, void);
HELPER(__u32, kernel_random, BPF_FUNC_get_prandom_u32, void);
HELPER(long, kernel_tail_call, BPF_FUNC_tail_call, void *context, void *map, __u32 index);
HELPER(long, kernel_ringbuf_output, BPF_FUNC_ringbuf_output, void *map, const void *data,
       __u64 size, __u64 flags);
HELPER(long, kernel_redirect, BPF_FUNC_redirect, __u32 ifindex, __u64 flags);
HELPER(long, kernel_fib_lookup, BPF_FUNC_fib_lookup, void *context, struct bpf_fib_lookup *params,
       __u32 length, __u32 flags);
HELPER(long, kernel_xdp_adjust_head, BPF_FUNC_xdp_adjust_head, void *context, __s32 change);
HELPER(__u64, kernel_xdp_length, BPF_FUNC_xdp_get_buff_len, void *context);
HELPER(long, kernel_clone_redirect, BPF_FUNC_clone_redirect, void *skb, __u32 ifindex, __u64 flags);
HELPER(__s64, kernel_csum_diff, BPF_FUNC_csum_diff, const void *from, __u32 from_size,
       const void *to, __u32 to_size, __u32 seed);
HELPER(long, kernel_skb_change_tail, BPF_FUNC_skb_change_tail, void *skb, __u32 length,
       __u64 flags);
HELPER(long, kernel_skb_pull_data, BPF_FUNC_skb_pull_data, void *skb, __u32 length);
HELPER(long, kernel_skb_store_bytes, BPF_FUNC_skb_store_bytes, void *skb, __u32 offset,
       const void *from, __u32 length, __u64 flags);
HELPER(long, kernel_skb_load_bytes, BPF_FUNC_skb_load_bytes, const void *skb, __u32 offset,
       void *to, __u32 length);
HELPER(long, kernel_l4_csum_replace, BPF_FUNC_l4_csum_replace, void *skb, __u32 offset, __u64 from,
       __u64 to, __u64 flags);
HELPER(__s64, kernel_csum_update, BPF_FUNC_csum_update, void *skb, __u32 change);
HELPER(long, kernel_skb_change_proto, BPF_FUNC_skb_change_proto, void *skb, __be16 protocol,
       __u64 flags);
HELPER(long, kernel_skb_adjust_room, BPF_FUNC_skb_adjust_room, void *skb, __s32 change, __u32 mode,
       __u64 flags);

/* Reads or writes a word that other CPUs change, once and whole. */
#define READ_ONCE(x)	     (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

#endif
