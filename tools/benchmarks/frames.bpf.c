/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The two ends of a benchmark: frames that arrive at a router's LAN, and what ends them at its
 * WAN, behind all other filters.
 *
 *   inject     XDP, run by BPF_PROG_TEST_RUN: writes the next frame and passes it on
 *   pass       XDP, on the interface it arrives at: gives it a receive queue with XDP
 *   discard    TC egress: counts the packet and frees it
 *   nothing    TC egress: what a program costs that does nothing
 *
 * Python packs the structs in the order of their members (frames.py).
 */
#include "byteorder.h"
#include "portable.h"

enum {
	FRAME_LENGTH = 74,
	FRAME_WORDS = 9,
	IPV4_CHECKSUM = 24,
	SOURCE = 28,
	DESTINATION = 32,
	PORT = 34,
	UDP_CHECKSUM = 40,
	TCP_CHECKSUM = 50,
	STAMP = 66,
	STEP_SHIFT = 4, /* a step of the histogram: 16 ns */
	STEPS = 8192,
	CPUS = 64,
	PASSED = 2,
};

/* Frame `next` has the template's addresses and port, each plus a part of `next`. The ports
 * leave out every other 512, as do the sets of CEs that have half an address. */
struct generator {
	__u8 frame[80];
	__u64 next;  /* number of the next frame */
	__u64 first; /* after `last` comes `first` again */
	__u64 last;
	__u32 hosts;   /* a power of two, less one */
	__u32 remotes; /* the same */
	__u32 is_tcp;
	__u32 stamped; /* the last 8 octets say when it arrived */
};

struct sink {
	__u64 ipv4[CPUS];
	__u64 ipv6[CPUS];
	__u64 stamped;
	__u64 steps[STEPS];
};

/* A checksum over words whose sum grew. */
INLINE void grow_checksum(__be16 *checksum, __u32 growth)
{
	__u32 sum = (__u16)~host16(*checksum) + growth;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*checksum = net16((__u16)~sum);
	if (!*checksum)
		*checksum = 0xffff;
}

INLINE void grow(__be16 *word, __u32 growth)
{
	*word = net16((__u16)(host16(*word) + growth));
}

PROGRAM int inject(struct xdp_md *context)
{
	struct generator *generator = MAP_VALUE(generator);
	__u8 *frame = (__u8 *)(long)context->data;
	const __u8 *end = (const __u8 *)(long)context->data_end;
	__u64 number = generator->next;
	__u32 host = number & generator->hosts;
	__u32 remote = (number * 2654435761U >> 12) & generator->remotes;
	__u32 port = (__u16)((number & 511) | number >> 9 << 10);

	if (frame + FRAME_LENGTH > end)
		return 0;
	generator->next = number == generator->last ? generator->first : number + 1;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < FRAME_WORDS; i++)
		((__u64 *)frame)[i] = ((const __u64 *)generator->frame)[i];
	*(__u16 *)(frame + 72) = *(const __u16 *)(generator->frame + 72);
	grow((__be16 *)(frame + SOURCE), host);
	grow((__be16 *)(frame + DESTINATION), remote);
	grow((__be16 *)(frame + PORT), port);
	grow_checksum((__be16 *)(frame + IPV4_CHECKSUM), host + remote);
	if (generator->is_tcp)
		grow_checksum((__be16 *)(frame + TCP_CHECKSUM), host + remote + port);
	else
		grow_checksum((__be16 *)(frame + UDP_CHECKSUM), host + remote + port);
	if (generator->stamped) {
		__u64 now = kernel_ktime_ns();

		__builtin_memcpy(frame + STAMP, &now, sizeof(now));
	}
	return PASSED;
}

PROGRAM int pass(struct xdp_md *context)
{
	return PASSED;
}

PROGRAM int discard(struct __sk_buff *skb)
{
	struct sink *sink = MAP_VALUE(sink);
	__u32 cpu = kernel_cpu() & (CPUS - 1);

	if (skb->protocol == net16(0x0800)) {
		sink->ipv4[cpu]++;
	} else {
		sink->ipv6[cpu]++;
	}
	if (sink->stamped) {
		__u64 stamp = 0, step;

		kernel_skb_load_bytes(skb, skb->len - sizeof(stamp), &stamp, sizeof(stamp));
		step = (kernel_ktime_ns() - stamp) >> STEP_SHIFT;
		if (step >= STEPS)
			step = STEPS - 1;
		OPAQUE(step);
		if (stamp)
			sink->steps[step & (STEPS - 1)]++;
	}
	return TC_ACT_SHOT;
}

PROGRAM int nothing(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}
