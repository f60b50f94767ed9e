/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP hook: the geometry of a frame, and writing into it. Beside hook_tc.h the only place that
 * knows which hook it runs in.
 *
 * XDP does not know whether a checksum has been left to the network card, as senders on this
 * machine do (veth, guests): such packets are TC's. Whatever is not redirected goes on untouched. */
#ifndef MAPXDP_HOOK_XDP_H
#define MAPXDP_HOOK_XDP_H

#include "rewrite.h"

INLINE const void *xdp_data(const struct xdp_md *frame)
{
	return (const void *)(long)frame->data;
}

INLINE const void *xdp_end(const struct xdp_md *frame)
{
	return (const void *)(long)frame->data_end;
}

INLINE _Bool xdp_is_of_type(const struct xdp_md *frame, __u16 type)
{
	const struct ethernet_header *ethernet = xdp_data(frame);

	return (const void *)(ethernet + 1) <= xdp_end(frame) && ethernet->type == net16(type);
}

/* Whether the frame is for this host, and not for another that the link shows it to. */
INLINE _Bool xdp_is_for(const struct xdp_md *frame, const struct shortcut *shortcut)
{
	const struct ethernet_header *ethernet = xdp_data(frame);

	return (const void *)(ethernet + 1) <= xdp_end(frame) &&
	       are_same_words(ethernet->hop, shortcut->own, OWN_WORDS);
}

/* Writes the packet and sends it on. Verdict: XDP_PASS where nothing was written. */
INLINE int xdp_send(struct xdp_md *frame, const struct rewriting *to)
{
	if (kernel_xdp_adjust_head(frame, -to->growth))
		return XDP_PASS;
	/* From here on there is no way back: the packet is changed. */
	if (!rewrite((void *)xdp_data(frame), xdp_end(frame), to))
		return XDP_ABORTED; /* cannot be: it was longer */
	return kernel_redirect(to->shortcut->ifindex, 0);
}

#endif
