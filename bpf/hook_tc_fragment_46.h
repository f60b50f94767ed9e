/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: fragments from the LAN, before anything is changed.
 *
 * A first fragment climbs the ladder as any packet does; those that come after it follow it. What
 * cannot do so is kept until the datagram is complete. It then becomes one packet, and goes where
 * whole packets go, or a first fragment, which climbs the ladder with the rest in a buffer. */
#ifndef MAPXDP_HOOK_TC_FRAGMENT_46_H
#define MAPXDP_HOOK_TC_FRAGMENT_46_H

#include "hook_tc_46.h"
#include "hook_tc_fragment.h"

INLINE enum reason tc_read_fragment_46(struct __sk_buff *skb, struct tc_upstream *up,
				       struct tc_fragment *fragment)
{
	enum reason reason = tc_admit_ipv4_46(skb, up);

	if (reason)
		return reason;
	fragment->work = fragment_work();
	if (!fragment->work)
		return REASON_KERNEL_REFUSED;
	fragment->part = fragment_of_ipv4(&up->packet.ipv4);
	fragment->direction = DIRECTION_46;
	fragment->headers_length = sizeof(struct ipv4_header);
	key_of_ipv4(&up->packet.ipv4.header, &fragment->work->key);
	seek_fragment(up->config, fragment);
	return REASON_TRANSLATED;
}

/* A fragment with DF has to fit as it is (RFC 7915 section 4.1). */
INLINE enum reason refuse_fragment_46(const struct tc_upstream *up, const struct fragment *fragment)
{
	enum reason reason = refuse_fragment(fragment, IPV4_PAYLOAD_MAX);

	if (!reason && !is_protocol_with_ports(fragment->protocol, PROTOCOL_ICMP))
		reason = REASON_PROTOCOL_WITHOUT_PORTS;
	if (!reason && !fits_46(up->config, &up->packet, 0))
		reason = REASON_TOO_BIG;
	return reason;
}

/* The checksum of ICMPv6 covers the length of the datagram, which no fragment tells (RFC 7915
 * section 1.2). */
INLINE _Bool needs_the_whole(const struct config *config, const struct fragment *fragment)
{
	return config->dmr_length && fragment->protocol == PROTOCOL_ICMP;
}

/* Octets of the payload that the first packet of a complete datagram takes. */
INLINE __u32 first_length(const struct config *config, const struct datagram *datagram)
{
	if (datagram->total + sizeof(struct ipv4_header) <= longest_whole(config))
		return datagram->total;
	if (!config->dmr_length)
		return piece_size(config->ipv4_mtu, sizeof(struct ipv4_header));
	return piece_size(config->lowest_ipv6_mtu,
			  sizeof(struct ipv6_header) + sizeof(struct ipv6_fragment_header));
}

/* The packet becomes the whole datagram if that fits, else its first fragment. */
INLINE enum reason tc_become_first_46(struct __sk_buff *skb, const struct config *config,
				      struct datagram *datagram)
{
	struct ipv4_header header;
	__u32 length = first_length(config, datagram);
	_Bool more = length < datagram->total;

	__builtin_memcpy(&header, datagram->headers, sizeof(header));
	permit_fragments(&header);
	become_fragment(&header, host16(header.identification), 0, length, more);
	if (tc_become_piece(skb, datagram, sizeof(header), 0, length)) {
		end_datagram(datagram);
		return REASON_KERNEL_REFUSED;
	}
	tc_write(skb, L2_LENGTH, &header, sizeof(header));
	if (!more) {
		end_datagram(datagram);
		return tc_continue(skb, PROGRAM_ENTRY);
	}
	publish_use(datagram, DATAGRAM_COMPLETE);
	return tc_continue(skb, PROGRAM_FIRST);
}

INLINE enum reason tc_dispatch_46(struct __sk_buff *skb, const struct tc_upstream *up,
				  const struct tc_fragment *fragment)
{
	_Bool is_first = !fragment->part.offset;
	struct datagram *whole = 0;
	enum reason reason;

	/* From another step of the ladder, whose retries come by here. */
	if (fragment->fate == FATE_COMPLETE)
		return is_first ? tc_continue(skb, PROGRAM_FIRST) : REASON_FRAGMENT_INVALID;
	reason = refuse_fragment_46(up, &fragment->part);
	if (reason)
		return reason;
	if (fragment->fate == FATE_OVERLAPPED)
		return REASON_FRAGMENT_INVALID;
	if (fragment->fate != FATE_KEPT && !needs_the_whole(up->config, &fragment->part)) {
		if (is_first)
			return tc_continue(skb, PROGRAM_FIRST);
		if (fragment->fate == FATE_FOLLOW)
			return tc_continue(skb, PROGRAM_PIECES);
	}
	reason = tc_keep(skb, fragment, &whole);
	if (reason || !whole)
		return reason;
	return tc_become_first_46(skb, up->config, whole);
}

/* A first fragment is dropped. If the rest of its datagram is in a buffer, so is that. */
INLINE void tc_abandon(const struct tc_upstream *up)
{
	struct fragment_work *work = fragment_work();

	if (!work)
		return;
	key_of_ipv4(&up->packet.ipv4.header, &work->key);
	abandon_datagram(&work->key, current_tick(up->config), DIRECTION_46);
}

/* Abandon program. */
INLINE int tc_abandon_46(struct __sk_buff *skb)
{
	enum reason why = skb->cb[CB_VALUE];
	struct tc_upstream up = {};

	if (!tc_admit_ipv4_46(skb, &up))
		tc_abandon(&up);
	return tc_finish(DIRECTION_46, why, up.packets, up.bytes);
}

/* Fragment program. */
INLINE int tc_fragment_46(struct __sk_buff *skb)
{
	struct tc_upstream up;
	struct tc_fragment fragment;
	enum reason reason = tc_read_fragment_46(skb, &up, &fragment);

	if (!reason)
		reason = tc_dispatch_46(skb, &up, &fragment);
	if (reason == REASON_TOO_BIG)
		reason = tc_refuse(skb, reason);
	return tc_finish_fragment(DIRECTION_46, reason, up.packets, up.bytes);
}

#endif
