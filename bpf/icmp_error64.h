/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T: an ICMPv6 error as an ICMP error (RFC 7915 sections 5.2 and 5.3). Pure; no hook is named
 * here. */
#ifndef MAPXDP_ICMP_ERROR64_H
#define MAPXDP_ICMP_ERROR64_H

#include "choose.h"
#include "quote.h"
#include "rfc4884.h"
#include "rules.h"

/* All that is before the quoted payload. */
struct error_front_64 {
	struct ipv4_header outer;
	struct icmp_error icmp;
	struct ipv4_header quoted;
};

struct error_64 {
	struct error_front_64 front;
	struct error_layout layout;
	struct quoted_change change;
};

/* Another CE, or the BR, has no binding for what it got from this CE (RFC 7599 section 8.3). */
INLINE _Bool is_refusal_of_source(const struct icmp_error *icmp)
{
	return icmp->type == ICMPV6_UNREACHABLE &&
	       (icmp->code == ICMPV6_POLICY || icmp->code == ICMPV6_REJECT_ROUTE);
}

/* Type, code and word. */
INLINE enum reason icmp_error_from_icmpv6(const struct config *config, const struct icmp_error *old,
					  _Bool is_fragment, struct icmp_error *icmp)
{
	__u32 less = HEADERS_DIFFER_BY + (is_fragment ? sizeof(struct ipv6_fragment_header) : 0);
	__u32 kind = icmp_kind_from_icmpv6(kind_of(old));
	__u32 word = host32(old->word);
	__u32 made = 0;

	if (kind == KIND(ICMP_PARAMETER_PROBLEM, 0)) {
		made = icmp_pointer_from_icmpv6(word);
		if (made == NO_POINTER)
			return REASON_ICMP_NOT_CARRIED;
		made <<= 24;
	} else if (kind == KIND(ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED)) {
		made = icmp_mtu_from_icmpv6(word, less, config->ipv6_mtu, config->ipv6_mtu);
	}
	icmp->type = kind >> 8;
	icmp->code = kind;
	icmp->checksum = 0;
	icmp->word = net32(made);
	return REASON_TRANSLATED;
}

/* Whom the quoted packet was for: the far end and the port have to belong together. */
INLINE enum reason quoted_remote(const struct config *config, const struct quote6 *quote,
				 __be32 *remote)
{
	const __be32 *destination = quote->header.destination;
	__u32 rule = rule_of_translated(config, destination);

	if (rule == NO_RULE)
		return REASON_QUOTE_INVALID;
	*remote = ipv4_of_translated(config, rule, destination);
	return check_source_64(rule, destination, *remote, quote->transport.destination_port)
		       ? REASON_QUOTE_INVALID
		       : REASON_TRANSLATED;
}

/* RFC 6791: the address of a router means nothing in IPv4, even under a rule's prefix. */
INLINE __be32 error_source(const struct config *config, const struct ipv6_view *ipv6,
			   const struct quote6 *quote, __be32 remote)
{
	__be32 source = remote;

	if (!same_ipv6(ipv6->source, quote->header.destination)) {
		if (rule_of_translated(config, ipv6->source) != DMR_RULE)
			return config->icmp_error_source;
		source = ipv4_of_translated(config, DMR_RULE, ipv6->source);
	}
	return is_martian(source) ? config->icmp_error_source : source;
}

/* The error `icmp` in the packet `ipv6`, behind whose quote are `objects` octets; `ends` are
 * those of the quoted packet as the LAN knows them. Its checksum is for the hook. */
INLINE enum reason translate_error_64(const struct config *config, const struct ipv6_view *ipv6,
				      const struct icmp_error *icmp, const struct quote6 *quote,
				      const struct quoted_ends *ends, __u32 objects,
				      __u16 identification, struct error_64 *out)
{
	struct error_front_64 *front = &out->front;
	struct ipv6_view shorter = *ipv6;
	enum reason reason = icmp_error_from_icmpv6(config, icmp, quote->is_fragment, &front->icmp);

	if (reason)
		return reason;
	quote_in_ipv4(quote, ends, &front->quoted, &out->change);
	out->layout = lay_out_error(sizeof(front->quoted), quote->transport.length, objects,
				    ICMP_LENGTH_UNIT, ICMP_BODY_MAX);
	front->icmp.word |= net32(out->layout.length << 16);
	shorter.payload_length =
		sizeof(front->icmp) + sizeof(front->quoted) + laid_out(&out->layout);
	ipv4_header_from_ipv6(&shorter, error_source(config, ipv6, quote, ends->destination),
			      ends->source, identification, &front->outer);
	return REASON_TRANSLATED;
}

#endif
