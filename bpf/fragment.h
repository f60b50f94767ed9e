/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments as values: which part of a datagram one is (RFC 791 section 3.2, RFC 8200 section
 * 4.5), and which of them are none. Pure; no table and no hook is named here. */
#ifndef MAPXDP_FRAGMENT_H
#define MAPXDP_FRAGMENT_H

#include "byteorder.h"
#include "contract.h"
#include "csum.h"
#include "packet.h"
#include "reasons.h"

/* A fragment's payload, whatever the headers before it. */
struct fragment {
	__u32 payload; /* where it begins in the frame */
	__u32 offset;  /* and in the datagram, in octets */
	__u32 length;
	__u32 identification;
	__u8 protocol; /* or next header */
	_Bool more;
};

/* The most that can follow an IPv4 header. */
enum { IPV4_PAYLOAD_MAX = 65535 - sizeof(struct ipv4_header), IPV6_PAYLOAD_MAX = 65535 };

INLINE _Bool is_fragment(const struct ipv4_header *header)
{
	return header->fragment & net16(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET);
}

INLINE _Bool is_later_fragment(const struct ipv4_header *header)
{
	return header->fragment & net16(IPV4_FRAGMENT_OFFSET);
}

INLINE _Bool forbids_fragments(const struct ipv4_header *header)
{
	return header->fragment & net16(IPV4_DONT_FRAGMENT);
}

INLINE struct fragment fragment_of_ipv4(const struct ipv4_view *ipv4)
{
	__u16 word = host16(ipv4->header.fragment);
	struct fragment fragment = {
		.payload = ipv4->offset + sizeof(struct ipv4_header),
		.offset = (__u32)(word & IPV4_FRAGMENT_OFFSET) * 8,
		.length = ipv4->total_length - sizeof(struct ipv4_header),
		.identification = host16(ipv4->header.identification),
		.protocol = ipv4->header.protocol,
		.more = word & IPV4_MORE_FRAGMENTS,
	};

	return fragment;
}

/* An IPv6 packet that says it is a fragment and is whole (RFC 6946). */
INLINE _Bool is_atomic(const struct fragment *fragment)
{
	return !fragment->offset && !fragment->more;
}

/* What no datagram of at most `longest` octets can have been cut into. */
INLINE enum reason refuse_fragment(const struct fragment *fragment, __u32 longest)
{
	if (!fragment->length || (fragment->more && fragment->length & 7) ||
	    fragment->offset + fragment->length > longest)
		return REASON_FRAGMENT_INVALID;
	return REASON_TRANSLATED;
}

/* Whether NAPT44 and MAP know the protocol; `icmp` is the ICMP of its family. Others have no ports
 * that a first fragment could show. */
INLINE _Bool is_protocol_with_ports(__u8 protocol, __u8 icmp)
{
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == icmp;
}

/* Octets of each piece but the last, if a piece and its `headers` are at most `mtu`. */
INLINE __u32 piece_size(__u32 mtu, __u32 headers)
{
	return (mtu - headers) & ~7U;
}

INLINE void ipv6_fragment_header(__u8 next_header, __u32 identification, __u32 offset, _Bool more,
				 struct ipv6_fragment_header *header)
{
	header->next_header = next_header;
	header->reserved = 0;
	header->fragment = net16(offset | more);
	header->identification = net32(identification);
}

/* Clears DF. */
INLINE void permit_fragments(struct ipv4_header *header)
{
	__be16 old = header->fragment;

	header->fragment &= ~net16(IPV4_DONT_FRAGMENT);
	header->checksum = checksum_after(header->checksum, old, header->fragment);
}

/* The header of a piece of the datagram: `length` octets from `offset` on. Its checksum was
 * right, or stays as wrong as it was. */
INLINE void become_fragment(struct ipv4_header *header, __u16 identification, __u32 offset,
			    __u32 length, _Bool more)
{
	__u64 old = (__u64)header->total_length + header->identification + header->fragment;

	header->total_length = net16(sizeof(*header) + length);
	header->identification = net16(identification);
	header->fragment &= ~net16(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET);
	header->fragment |= net16(offset / 8 | (more ? IPV4_MORE_FRAGMENTS : 0));
	header->checksum = checksum_after(header->checksum, old,
					  (__u64)header->total_length + header->identification +
						  header->fragment);
}

#endif
