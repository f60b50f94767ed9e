/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The accelerator at XDP: the columns of calls that every mode has. */
#ifndef MAPXDP_HOOK_XDP_ACCELERATOR_H
#define MAPXDP_HOOK_XDP_ACCELERATOR_H

#include "accelerate64.h"
#include "hook_xdp.h"

/* Bytes from the network header to the end of the frame, all of its buffers. */
INLINE __u32 xdp_network_length(struct xdp_md *frame)
{
	return kernel_xdp_length(frame) - L2_LENGTH;
}

INLINE int xdp_finish(int verdict, enum direction direction, __u32 bytes)
{
	if (verdict == XDP_REDIRECT) {
		count(direction, REASON_TRANSLATED, 1, bytes);
		count(direction, REASON_ACCELERATED, 1, bytes);
	}
	return verdict;
}

/* How a mode turns the packet into IPv6 and writes it. */
typedef int (*xdp_emit_step_46)(struct xdp_md *frame, const struct config *config,
				const struct accelerated_46 *up);

/* From the LAN. */
INLINE int xdp_lan(struct xdp_md *frame, xdp_emit_step_46 emit)
{
	const struct config *config = active_config();
	struct accelerated_46 up;
	__u32 bytes;

	if (!xdp_is_of_type(frame, ETHERTYPE_IPV4))
		return XDP_PASS;
	bytes = xdp_network_length(frame);
	if (!is_simple_46(config, xdp_data(frame), xdp_end(frame), L2_LENGTH, bytes, 0, &up.packet))
		return XDP_PASS;
	if (leaves_checksum_46(&up.packet))
		return XDP_PASS;
	up.shortcut = shortcut_46(config, &up.packet);
	if (!up.shortcut || !xdp_is_for(frame, up.shortcut) ||
	    !takes_shortcut_46(frame, config, frame->ingress_ifindex, 0, &up))
		return XDP_PASS;
	return xdp_finish(emit(frame, config, &up), DIRECTION_46, up.packet.ipv4.total_length);
}

/* How a mode turns the packet into IPv4 and writes it. */
typedef int (*xdp_emit_step_64)(struct xdp_md *frame, const struct config *config,
				struct accelerated_64 *down);

/* From the domain. */
INLINE int xdp_wan(struct xdp_md *frame, struct mode_64 mode, xdp_emit_step_64 emit)
{
	const struct config *config = active_config();
	struct accelerated_64 down;

	if (!xdp_is_of_type(frame, ETHERTYPE_IPV6) ||
	    !mode.read(config, xdp_data(frame), xdp_end(frame), L2_LENGTH,
		       xdp_network_length(frame), &down) ||
	    is_checksum_pending(mode.transport(&down), down.pseudo_header) ||
	    !xdp_is_for(frame, down.shortcut) ||
	    !takes_shortcut_64(frame, config, frame->ingress_ifindex, down.length, &down,
			       mode.ends(&down)))
		return XDP_PASS;
	return xdp_finish(emit(frame, config, &down), DIRECTION_64, down.length);
}

#endif
