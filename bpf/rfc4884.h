/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an ICMP error has room for, and what may follow its quote (RFC 4884). Pure.
 *
 *    | IP | ICMP | quote: headers, payload | padding | extension objects |
 */
#ifndef MAPXDP_RFC4884_H
#define MAPXDP_RFC4884_H

#include "headers.h"
#include "inline.h"

/* Of all after the ICMP header (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4). */
enum {
	ICMP_BODY_MAX = 576 - sizeof(struct ipv4_header) - sizeof(struct icmp_error),
	ICMPV6_BODY_MAX = 1280 - sizeof(struct ipv6_header) - sizeof(struct icmp_error),
};

/* The length of a quote before extension objects: its least, and its units. */
enum { PADDED_LEAST = 128, ICMP_LENGTH_UNIT = 4, ICMPV6_LENGTH_UNIT = 8 };

struct error_layout {
	__u32 payload; /* octets of the quote that follow its IP headers */
	__u32 padding; /* zeros between the quote and the objects */
	__u32 objects; /* octets of extension objects */
	__u32 length;  /* of the padded quote in units; 0: no objects follow */
};

/* For a quote whose IP headers are `headers` octets. What does not fit is left out: the objects
 * first, then the end of the quote. */
INLINE struct error_layout lay_out_error(__u32 headers, __u32 payload, __u32 objects, __u32 unit,
					 __u32 most)
{
	struct error_layout layout = {.payload = payload};
	__u32 quote = headers + payload;
	__u32 padded = (quote + unit - 1) & ~(unit - 1);

	if (padded < PADDED_LEAST)
		padded = PADDED_LEAST;
	if (objects && padded + objects <= most) {
		layout.padding = padded - quote;
		layout.objects = objects;
		layout.length = padded / unit;
	} else if (quote > most) {
		layout.payload = most - headers;
	}
	return layout;
}

/* Octets behind the quoted IP headers. */
INLINE __u32 laid_out(const struct error_layout *layout)
{
	return layout->payload + layout->padding + layout->objects;
}

/* Octets that are quoted where extension objects follow, of `body` after the ICMP header. */
INLINE __u32 quoted_octets(__u32 length, __u32 body)
{
	return length && length < body ? length : body;
}

#endif
