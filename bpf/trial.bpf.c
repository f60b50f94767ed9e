/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Test runs with frames of other lengths. The kernel takes none that is larger than a page, and of
 * late none that is shorter than an IP header: this program is run in place of the one on trial,
 * with a frame that the kernel does take, gives it the length and the end that it should have,
 * and hands it on. Attached nowhere.
 */
#include "portable.h"

enum { REST_MAX = 1 << 16, TRIAL_FAILED = 99 };

/* Python packs the struct in the order of its members (stretch.py). */
struct trial {
	__u32 length; /* of the frame */
	__u32 offset; /* where the rest begins */
	__u32 last;   /* octet of the rest, which has one at least */
	__u8 rest[REST_MAX];
};

#ifndef MAPXDP_BCC
MAPXDP_DEFINE_MAP(trial, ARRAY, __u32, struct trial, 1, 0)
MAPXDP_DEFINE_MAP(on_trial, PROG_ARRAY, __u32, __u32, 1, 0)
#endif

PROGRAM int stretch(struct __sk_buff *skb)
{
	struct trial *trial = MAP_VALUE(trial);

	if (kernel_skb_change_tail(skb, trial->length, 0))
		return TRIAL_FAILED;
	if (kernel_skb_store_bytes(skb, trial->offset, trial->rest,
				   (trial->last & (REST_MAX - 1)) + 1, 0))
		return TRIAL_FAILED;
	kernel_tail_call(skb, MAP(on_trial), 0);
	return TRIAL_FAILED;
}
