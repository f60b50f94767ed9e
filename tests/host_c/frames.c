/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads packets and lowers the MSS of each, as the datapath does, under the address sanitizer.
 *
 * A packet lies in memory of exactly its size: an octet read behind it ends the program. Cases
 * come on standard input, each a struct case and the octets that can be read directly; one
 * line of numbers answers each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mss.h"
#include "parse.h"
#include "transport_change.h"

struct packet_case {
	__u16 version;
	__u16 readable;	 /* octets that follow */
	__u16 available; /* octets the frame has, some of them perhaps not readable */
	__u16 limit;	 /* largest MSS let through */
};

static enum reason read_ipv4(const __u8 *data, const struct packet_case *given,
			     struct transport *transport)
{
	const __u8 *end = data + given->readable;
	struct ipv4_view ipv4 = {};
	enum reason reason = parse_ipv4(data, end, 0, given->available, &ipv4);

	if (!reason)
		reason = refuse_ipv4(&ipv4);
	return reason ? reason : parse_transport_ipv4(data, end, &ipv4, transport);
}

static enum reason read_ipv6(const __u8 *data, const struct packet_case *given,
			     struct transport *transport)
{
	const __u8 *end = data + given->readable;
	struct ipv6_view ipv6 = {};
	enum reason reason = parse_ipv6(data, end, 0, &ipv6);

	if (reason)
		return reason;
	if (!ipv6.payload_length || ipv6.payload_length + 40u > given->available)
		return REASON_MALFORMED_IPV6;
	reason = refuse_extension(ipv6.next_header);
	return reason ? reason : parse_transport_ipv6(data, end, &ipv6, transport);
}

/* The MSS options of a header with room for others, which the kernel copies. */
static __u64 other_mss(const __u8 *data, const struct packet_case *given,
		       const struct transport *transport)
{
	__u32 length = transport->header_length - sizeof(struct tcp_header);
	__u8 room[TCP_OPTIONS_ROOM] = {};

	if (!has_other_options(transport) || headers_length(transport) > given->readable)
		return 0;
	memcpy(room, data + transport->offset + sizeof(struct tcp_header), length);
	return all_mss(room, length);
}

static void answer(const __u8 *data, const struct packet_case *given)
{
	const __u8 *end = data + given->readable;
	struct transport transport = {};
	struct transport_change change = {};
	enum reason reason = given->version == 6 ? read_ipv6(data, given, &transport)
						 : read_ipv4(data, given, &transport);
	__u64 others = 0;
	__u32 mss = 0;

	if (!reason && transport.index == INDEX_TCP && transport.tcp_flags & TCP_SYN)
		others = other_mss(data, given, &transport);
	if (!reason && transport.index == INDEX_TCP && transport.tcp_flags & TCP_SYN)
		mss = find_mss(data, end, &transport);
	if (mss)
		change_mss(data, end, &transport, mss, given->limit, &change);
	printf("%d %u %u %u %u %u %llu\n", reason, reason ? 0 : transport.source_port,
	       reason ? 0 : transport.destination_port, mss, change.mss_offset,
	       host16(checksum_after(transport.checksum, 0, change.data)), others);
}

int main(void)
{
	struct packet_case given;

	while (fread(&given, sizeof(given), 1, stdin) == 1) {
		__u8 *data = malloc(given.readable);

		if (given.readable && fread(data, given.readable, 1, stdin) != 1)
			return EXIT_FAILURE;
		answer(data, &given);
		free(data);
	}
	return EXIT_SUCCESS;
}
