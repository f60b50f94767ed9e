/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T: an ICMP error as an ICMPv6 error (RFC 7915 sections 4.2 and 4.3). Pure; no hook is named
 * here. */
#ifndef MAPXDP_ICMP_ERROR46_H
#define MAPXDP_ICMP_ERROR46_H

#include "contract.h"
#include "quote.h"
#include "reasons.h"
#include "rfc4884.h"
#include "rfc7915_46.h"
#include "rules.h"
#include "traffic_class.h"

/* All that is before the quoted payload. The Fragment header is there where the quote has one. */
struct error_front_46 {
	struct ipv6_header outer;
	struct icmp_error icmp;
	struct ipv6_header quoted;
	struct ipv6_fragment_header fragment;
};

struct error_46 {
	struct error_front_46 front;
	__u32 quoted_headers; /* octets */
	struct error_layout layout;
	struct quoted_change change;
};

/* Type, code and word. */
INLINE enum reason icmpv6_error_from_icmp(const struct config *config, const struct icmp_error *old,
					  __u16 quoted_length, struct icmp_error *icmp)
{
	__u32 kind = icmpv6_kind_from_icmp(kind_of(old));
	__u32 word = host32(old->word);
	__u32 made = 0;

	if (old->type == ICMP_PARAMETER_PROBLEM) {
		made = icmpv6_pointer_from_icmp(word >> 24);
		if (made == NO_POINTER)
			return REASON_ICMP_NOT_CARRIED;
	} else if (kind == KIND(ICMPV6_PARAMETER_PROBLEM, 1)) {
		made = NEXT_HEADER_POINTER;
	} else if (kind == KIND(ICMPV6_TOO_BIG, 0)) {
		made = icmpv6_mtu_from_icmp(word & 0xffff, quoted_length, config->ipv6_mtu,
					    config->ipv6_mtu);
	}
	icmp->type = kind >> 8;
	icmp->code = kind;
	icmp->checksum = 0;
	icmp->word = net32(made);
	return REASON_TRANSLATED;
}

/* The error `icmp` in the packet `ipv4`, behind whose quote are `objects` octets; `ends` are
 * those of the quoted packet as the domain knows them. Checksums are for the hook. */
INLINE enum reason translate_error_46(const struct config *config, const struct ipv4_view *ipv4,
				      const struct icmp_error *icmp, const struct quote4 *quote,
				      const struct quoted_ends *ends, __u32 objects,
				      struct error_46 *out)
{
	struct error_front_46 *front = &out->front;
	struct ipv4_view longer = *ipv4;
	__be32 own[4];
	__be32 destination[4];
	enum reason reason = icmpv6_error_from_icmp(
		config, icmp, host16(quote->header.total_length), &front->icmp);

	if (reason)
		return reason;
	translated_source(config, ends->destination, own);
	translated_destination(config, ends->source, ends->source_port, front->quoted.source);
	__builtin_memcpy(front->quoted.destination, own, sizeof(own));
	out->quoted_headers =
		quote_in_ipv6(quote, ends, &front->quoted, &front->fragment, &out->change);
	if (!icmpv6_has_length(front->icmp.type))
		objects = 0;
	out->layout = lay_out_error(out->quoted_headers, quote->transport.length, objects,
				    ICMPV6_LENGTH_UNIT, ICMPV6_BODY_MAX);
	if (out->layout.length)
		front->icmp.word = net32(out->layout.length << 24);
	longer.total_length = sizeof(struct ipv4_header) + sizeof(front->icmp) +
			      out->quoted_headers + laid_out(&out->layout);
	translated_destination(config, ipv4->header.destination, ends->source_port, destination);
	ipv6_header_from_ipv4(&longer, own, destination, &front->outer);
	set_traffic_class(&front->outer, translated_class(config, ipv4->header.tos));
	return REASON_TRANSLATED;
}

#endif
