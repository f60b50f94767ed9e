/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP in ICMPv6 and back (RFC 7915 sections 4.2 and 5.2): types and codes, and what the word
 * after them says. Pure; no hook is named here. */
#ifndef MAPXDP_RFC7915_ICMP_H
#define MAPXDP_RFC7915_ICMP_H

#include "headers.h"
#include "inline.h"

INLINE __u8 icmpv6_echo_from_icmp(__u8 type)
{
	return type == ICMP_ECHO_REQUEST ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
}

INLINE __u8 icmp_echo_from_icmpv6(__u8 type)
{
	return type == ICMPV6_ECHO_REQUEST ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
}

/* Type and code of an error in one number; NO_KIND: it has no counterpart. */
#define KIND(type, code) ((type) << 8 | (code))
enum { NO_KIND = 0xffff };

INLINE __u32 kind_of(const struct icmp_error *icmp)
{
	return KIND(icmp->type, icmp->code);
}

INLINE __u32 icmpv6_kind_from_icmp(__u32 kind)
{
	switch (kind) {
	case KIND(ICMP_UNREACHABLE, 0):
	case KIND(ICMP_UNREACHABLE, 1):
	case KIND(ICMP_UNREACHABLE, 5):
	case KIND(ICMP_UNREACHABLE, 6):
	case KIND(ICMP_UNREACHABLE, 7):
	case KIND(ICMP_UNREACHABLE, 8):
	case KIND(ICMP_UNREACHABLE, 11):
	case KIND(ICMP_UNREACHABLE, 12):
		return KIND(ICMPV6_UNREACHABLE, 0);
	case KIND(ICMP_UNREACHABLE, 9):
	case KIND(ICMP_UNREACHABLE, 10):
	case KIND(ICMP_UNREACHABLE, 13):
	case KIND(ICMP_UNREACHABLE, 15):
		return KIND(ICMPV6_UNREACHABLE, 1);
	case KIND(ICMP_UNREACHABLE, 2):
		return KIND(ICMPV6_PARAMETER_PROBLEM, 1);
	case KIND(ICMP_UNREACHABLE, 3):
		return KIND(ICMPV6_UNREACHABLE, 4);
	case KIND(ICMP_UNREACHABLE, 4):
		return KIND(ICMPV6_TOO_BIG, 0);
	case KIND(ICMP_TIME_EXCEEDED, 0):
		return KIND(ICMPV6_TIME_EXCEEDED, 0);
	case KIND(ICMP_TIME_EXCEEDED, 1):
		return KIND(ICMPV6_TIME_EXCEEDED, 1);
	case KIND(ICMP_PARAMETER_PROBLEM, 0):
	case KIND(ICMP_PARAMETER_PROBLEM, 2):
		return KIND(ICMPV6_PARAMETER_PROBLEM, 0);
	default:
		return NO_KIND;
	}
}

INLINE __u32 icmp_kind_from_icmpv6(__u32 kind)
{
	switch (kind) {
	case KIND(ICMPV6_UNREACHABLE, 0):
	case KIND(ICMPV6_UNREACHABLE, 2):
	case KIND(ICMPV6_UNREACHABLE, 3):
		return KIND(ICMP_UNREACHABLE, 1);
	case KIND(ICMPV6_UNREACHABLE, 1):
		return KIND(ICMP_UNREACHABLE, 10);
	case KIND(ICMPV6_UNREACHABLE, 4):
		return KIND(ICMP_UNREACHABLE, 3);
	case KIND(ICMPV6_TOO_BIG, 0):
		return KIND(ICMP_UNREACHABLE, 4);
	case KIND(ICMPV6_TIME_EXCEEDED, 0):
		return KIND(ICMP_TIME_EXCEEDED, 0);
	case KIND(ICMPV6_TIME_EXCEEDED, 1):
		return KIND(ICMP_TIME_EXCEEDED, 1);
	case KIND(ICMPV6_PARAMETER_PROBLEM, 0):
		return KIND(ICMP_PARAMETER_PROBLEM, 0);
	case KIND(ICMPV6_PARAMETER_PROBLEM, 1):
		return KIND(ICMP_UNREACHABLE, 2);
	default:
		return NO_KIND;
	}
}

/* Which field of the header an error points at; NO_POINTER: the other family has none such. */
enum { NO_POINTER = 0xff, NEXT_HEADER_POINTER = 6 };

/* Figure 3. */
INLINE __u32 icmpv6_pointer_from_icmp(__u32 pointer)
{
	if (pointer < 2)
		return pointer;
	if (pointer < 4)
		return 4;
	if (pointer == 8)
		return 7;
	if (pointer == 9)
		return NEXT_HEADER_POINTER;
	if (pointer >= 12 && pointer < 16)
		return 8;
	return pointer >= 16 && pointer < 20 ? 24 : NO_POINTER;
}

/* Figure 6. */
INLINE __u32 icmp_pointer_from_icmpv6(__u32 pointer)
{
	if (pointer < 2)
		return pointer;
	if (pointer == 4 || pointer == 5)
		return 2;
	if (pointer == NEXT_HEADER_POINTER)
		return 9;
	if (pointer == 7)
		return 8;
	if (pointer >= 8 && pointer < 24)
		return 12;
	return pointer >= 24 && pointer < 40 ? 16 : NO_POINTER;
}

enum { IPV6_LEAST_MTU = 1280, HEADERS_DIFFER_BY = 20 };

/* RFC 1191 section 7: what a router meant that reports no MTU, as it does not know the RFC. */
INLINE __u32 plateau_below(__u32 total_length)
{
	if (total_length > 32000)
		return 32000;
	if (total_length > 17914)
		return 17914;
	if (total_length > 8166)
		return 8166;
	if (total_length > 4352)
		return 4352;
	if (total_length > 2002)
		return 2002;
	return total_length > 1492 ? 1492 : 0;
}

INLINE __u32 lesser(__u32 one, __u32 other)
{
	return one < other ? one : other;
}

/* The MTU of Packet Too Big; `total_length` is that of the packet it is about. */
INLINE __u32 icmpv6_mtu_from_icmp(__u32 mtu, __u32 total_length, __u32 ipv6_mtu, __u32 ipv4_mtu)
{
	__u32 reported = mtu ? mtu : plateau_below(total_length);
	__u32 grown = lesser(reported, ipv4_mtu) + HEADERS_DIFFER_BY;

	grown = lesser(grown, ipv6_mtu);
	return grown > IPV6_LEAST_MTU ? grown : IPV6_LEAST_MTU;
}

/* The MTU of "fragmentation needed"; `less` is what the IPv6 headers of the packet have more
 * than its IPv4 header. */
INLINE __u32 icmp_mtu_from_icmpv6(__u32 mtu, __u32 less, __u32 ipv6_mtu, __u32 ipv4_mtu)
{
	__u32 shrunk = lesser(mtu, ipv6_mtu);

	return shrunk > less ? lesser(shrunk - less, ipv4_mtu) : 0;
}

/* The errors that NAPT44 carries (RFC 5508 REQ-10, 11). Each of them can say how long the quote
 * is, for what may follow it (RFC 4884). */
INLINE _Bool is_icmp_error(__u32 type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

/* The ICMPv6 errors that can. */
INLINE _Bool icmpv6_has_length(__u32 type)
{
	return type == ICMPV6_UNREACHABLE || type == ICMPV6_TIME_EXCEEDED;
}

#endif
