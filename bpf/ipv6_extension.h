/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 extension headers (RFC 8200 section 4) that a packet to this CE is taken out of, or that
 * nobody can (RFC 7915 section 5.1, RFC 2473 section 5.3). */
#ifndef MAPXDP_IPV6_EXTENSION_H
#define MAPXDP_IPV6_EXTENSION_H

#include "choose.h"
#include "headers.h"
#include "inline.h"
#include "packet.h"
#include "reasons.h"

/* More is nothing that anybody sends in earnest. */
enum { EXTENSIONS_MAX = 8, EXTENSION_OCTETS_MAX = 256, EXTENSION_UNIT = 8 };

/* How every one of them begins; the rest of a routing header's first word. */
struct extension_header {
	__u8 next_header;
	__u8 length; /* in 8 octets, without the first 8 */
	__u8 routing_type;
	__u8 segments_left;
};

/* The headers from the IPv6 header to what they carry. */
struct extensions {
	__u32 octets;
	__u32 pointer; /* to Segments Left of a route that has not come to its end, or 0 */
	__u8 next_header;
};

INLINE _Bool is_skipped(__u8 next_header)
{
	return next_header == EXTENSION_HOP_BY_HOP || next_header == EXTENSION_ROUTING ||
	       next_header == EXTENSION_DESTINATION;
}

/* Goes on behind the header that `extensions` have come to. */
INLINE void pass_extension(const struct extension_header *header, struct extensions *extensions)
{
	if (extensions->next_header == EXTENSION_ROUTING && header->segments_left &&
	    !extensions->pointer)
		extensions->pointer = sizeof(struct ipv6_header) + extensions->octets +
				      __builtin_offsetof(struct extension_header, segments_left);
	extensions->octets += (header->length + 1) * EXTENSION_UNIT;
	extensions->next_header = header->next_header;
}

/* What keeps a packet whose payload, headers included, has `payload` octets from being taken out
 * of these headers. */
INLINE enum reason check_extensions(const struct extensions *extensions, __u32 payload)
{
	if (is_skipped(extensions->next_header) ||
	    extensions->next_header == EXTENSION_AUTHENTICATION ||
	    extensions->octets > EXTENSION_OCTETS_MAX || extensions->octets >= payload)
		return REASON_EXTENSION_HEADER;
	return extensions->pointer ? REASON_ROUTING_HEADER : REASON_TRANSLATED;
}

/* In a tunnel only IPv4, or a part of it, is for this CE: everything else is for the kernel, and
 * what others than the BR and the CEs of FMRs make of their headers is, too. */
INLINE enum reason check_tunnel_extensions(const struct extensions *extensions, _Bool from_br,
					   enum reason reason)
{
	_Bool is_ipv4 = extensions->next_header == PROTOCOL_IPV4;
	_Bool is_part = extensions->next_header == EXTENSION_FRAGMENT;

	if (from_br && (reason || is_ipv4 || is_part))
		return reason;
	return !reason && is_ipv4 ? REASON_TRANSLATED : REASON_NOT_ENCAPSULATED;
}

#endif
