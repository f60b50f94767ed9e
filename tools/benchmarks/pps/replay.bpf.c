/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Frames that were written beforehand arrive at an interface, one after the other; and their ends.
 *
 *   to_kernel  XDP, run by BPF_PROG_TEST_RUN: the next frame is the kernel's
 *   to_driver  the same, but the frame goes to the XDP program under test
 *   pass       XDP, on the interface it arrives at: gives it a receive queue with XDP
 *   bare       XDP under test: what forwarding a frame costs that is only sent on
 *   xdp_end    XDP behind the router: counts the frame and drops it
 *   tc_end     TC egress of the router, behind all others: the same, where skbs leave
 */
#include "byteorder.h"
#include "portable.h"

enum { FRAME_WORDS = 16, CPUS = 64, HOP_WORDS = 6 };

struct frame {
	__u64 words[FRAME_WORDS];
};

/* Frames `first` to `last` and again, each CPU by itself. */
struct cursor {
	__u32 next;
	__u32 first;
	__u32 last;
	__u32 length;
};

struct ends {
	__u64 arrived[CPUS * 8]; /* a cache line for each CPU */
};

struct target {
	__u32 ifindex;
	__u16 hop[HOP_WORDS];
};

INLINE _Bool write_next(struct xdp_md *context)
{
	__u64 *to = (__u64 *)(long)context->data;
	const void *end = (const void *)(long)context->data_end;
	__u32 key = 0;
	struct cursor *cursor = kernel_map_lookup(MAP(cursor), &key);
	const struct frame *frame;
	__u32 number;

	if (!cursor)
		return 0;
	number = cursor->next;
	frame = kernel_map_lookup(MAP(frames), &number);
	if (!frame || (void *)(to + 8) > end)
		return 0;
	cursor->next = number == cursor->last ? cursor->first : number + 1;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < 8; i++)
		to[i] = frame->words[i];
#pragma clang loop unroll(full)
	for (__u32 i = 8; i < FRAME_WORDS; i++) {
		if ((void *)(to + i + 1) > end)
			break;
		to[i] = frame->words[i];
	}
	return 1;
}

PROGRAM int to_kernel(struct xdp_md *context)
{
	return write_next(context) ? XDP_PASS : XDP_ABORTED;
}

PROGRAM int to_driver(struct xdp_md *context)
{
	if (write_next(context))
		kernel_tail_call(context, MAP(under_test), 0);
	return XDP_ABORTED;
}

PROGRAM int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

PROGRAM int bare(struct xdp_md *context)
{
	__u16 *to = (__u16 *)(long)context->data;
	const void *end = (const void *)(long)context->data_end;
	__u32 key = 0;
	const struct target *target = kernel_map_lookup(MAP(target), &key);

	if (!target || (void *)(to + HOP_WORDS) > end)
		return XDP_ABORTED;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < HOP_WORDS; i++)
		to[i] = target->hop[i];
	return kernel_redirect(target->ifindex, 0);
}

INLINE void count_arrived(void)
{
	__u32 key = 0;
	struct ends *ends = kernel_map_lookup(MAP(ends), &key);
	__u32 cpu = kernel_cpu() & (CPUS - 1);

	if (ends)
		ends->arrived[cpu * 8]++;
}

PROGRAM int xdp_end(struct xdp_md *context)
{
	count_arrived();
	return XDP_DROP;
}

PROGRAM int tc_end(struct __sk_buff *skb)
{
	count_arrived();
	return TC_ACT_SHOT;
}
