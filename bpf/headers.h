/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The headers of RFC 791, 8200, 9293, 768, 792 and 4443 as they lie in a packet. */
#ifndef MAPXDP_HEADERS_H
#define MAPXDP_HEADERS_H

#include <linux/types.h>

enum ether_type { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };

enum ip_protocol {
	PROTOCOL_ICMP = 1,
	PROTOCOL_IPV4 = 4,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ICMPV6 = 58,
};

/* RFC 8200 section 4: what may stand between the IPv6 header and the payload. */
enum ipv6_extension {
	EXTENSION_HOP_BY_HOP = 0,
	EXTENSION_ROUTING = 43,
	EXTENSION_FRAGMENT = 44,
	EXTENSION_ESP = 50,
	EXTENSION_AUTHENTICATION = 51,
	EXTENSION_DESTINATION = 60,
};

enum icmp_type {
	ICMP_ECHO_REPLY = 0,
	ICMP_ECHO_REQUEST = 8,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

enum icmp_error_type {
	ICMP_UNREACHABLE = 3,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_TOO_BIG = 2,
	ICMPV6_TIME_EXCEEDED = 3,
	ICMPV6_PARAMETER_PROBLEM = 4,
	ICMPV6_INFORMATIONAL = 128, /* from here on there are no errors */
};

enum icmp_error_code {
	ICMP_HOST_UNREACHABLE = 1,
	ICMP_FRAGMENTATION_NEEDED = 4,
	ICMP_SOURCE_ROUTE_FAILED = 5,
	ICMPV6_POLICY = 5,
	ICMPV6_REJECT_ROUTE = 6,
};

enum tcp_flag { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

/* The first octet of an IPv4 header without options: version 4, five 32-bit words. */
enum { IPV4_NO_OPTIONS = 0x45 };

enum ipv4_fragment_bits {
	IPV4_DONT_FRAGMENT = 0x4000,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV4_FRAGMENT_OFFSET = 0x1fff,
};

enum ipv6_fragment_bits { IPV6_MORE_FRAGMENTS = 0x0001, IPV6_FRAGMENT_OFFSET = 0xfff8 };

struct ipv4_header {
	__u8 version_and_length;
	__u8 tos;
	__be16 total_length;
	__be16 identification;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

struct ipv6_fragment_header {
	__u8 next_header;
	__u8 reserved;
	__be16 fragment; /* offset in octets, whose last 3 bits are 0; the last bit: more */
	__be32 identification;
};

struct tcp_header {
	__be16 source_port;
	__be16 destination_port;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset; /* upper 4 bits: length in 32-bit words */
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
};

struct udp_header {
	__be16 source_port;
	__be16 destination_port;
	__be16 length;
	__u16 checksum;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 identifier;
	__be16 sequence;
};

/* The start of an ICMP or ICMPv6 error. What the word holds depends on the type: a pointer, an
 * MTU, the length of the quote that follows. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 word;
};

_Static_assert(sizeof(struct ipv4_header) == 20, "RFC 791");
_Static_assert(sizeof(struct ipv6_header) == 40, "RFC 8200");
_Static_assert(sizeof(struct ipv6_fragment_header) == 8, "RFC 8200");
_Static_assert(sizeof(struct tcp_header) == 20, "RFC 9293");
_Static_assert(sizeof(struct udp_header) == 8, "RFC 768");
_Static_assert(sizeof(struct icmp_header) == 8, "RFC 792");
_Static_assert(sizeof(struct icmp_error) == 8, "RFC 792");

#endif
