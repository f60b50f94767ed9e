/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pure headers of the datapath, compiled for the host and callable from Python. */
#include <string.h>

#include "encapsulation.h"
#include "ipv4_options.h"
#include "map_address.h"
#include "mapping_state.h"
#include "mss.h"
#include "port_set.h"
#include "rfc4884.h"
#include "rfc6052.h"
#include "rfc7915_64.h"
#include "rfc7915_icmp.h"

enum { NOT_IN_SET = 0xffffffff, NOT_INVERSE = 0xfffffffe };

/* For each port: its slot, if it is in the set and the slot leads back to it. */
void slots_of_ports(__u32 psid_offset, __u32 psid_length, __u32 psid, __u32 slots[65536])
{
	struct port_set set = {
		.psid_offset = psid_offset,
		.psid_length = psid_length,
		.psid = psid,
	};

	for (__u32 port = 0; port < 65536; port++) {
		slots[port] = NOT_IN_SET;
		if (!port_in_set(&set, port))
			continue;
		slots[port] = slot_of_port(&set, port);
		if (port_of_slot(&set, slots[port]) != port)
			slots[port] = NOT_INVERSE;
	}
}

void embed(const __be32 prefix[4], __u32 length, __be32 ipv4, __be32 address[4])
{
	rfc6052_embed(prefix, length, ipv4, address);
}

__be32 extract(const __be32 address[4], __u32 length)
{
	return rfc6052_extract(address, length);
}

int is_under(const __be32 address[4], const __be32 prefix[4], __u32 length)
{
	return under_prefix(address, prefix, length);
}

__u16 updated(__u16 checksum, __u64 from, __u64 to)
{
	return checksum_after(checksum, from, to);
}

/* The flags after a packet; the peer the mapping has then goes through `peer`. */
__u64 after(int from_lan, __u64 flags, __u64 *peer, __u8 tcp_flags, __u64 packet_peer)
{
	struct transport transport = {.tcp_flags = tcp_flags};
	struct mapping_state state = {.flags = flags, .peer = *peer};

	state = from_lan ? mapping_after_46(state, &transport, packet_peer)
			 : mapping_after_64(state, &transport, packet_peer);
	*peer = state.peer;
	return state.flags;
}

__u64 first(__u8 tcp_flags)
{
	struct transport transport = {.tcp_flags = tcp_flags};

	return first_flags(&transport);
}

/* The TOS that leaves the tunnel; -1 where the packet is dropped. */
int leaving_tos(__u8 inner, __u8 outer)
{
	__u8 tos = 0;

	return decapsulated_tos(inner, outer, &tos) ? -1 : tos;
}

/* A bit for each MSS option, by its position. */
__u64 mss_options(const __u8 *options, __u32 length)
{
	__u8 room[TCP_OPTIONS_ROOM] = {};

	memcpy(room, options, length);
	return all_mss(room, length);
}

/* Why a packet with these IPv4 options cannot be translated. */
int checked_options(const __u8 *options, __u32 length)
{
	__u8 room[IPV4_OPTIONS_ROOM] = {};

	memcpy(room, options, length);
	return check_options(room, length);
}

void translated_header(const __u8 ipv6[40], __be32 source, __be32 destination, __u16 id,
		       struct ipv4_header *out)
{
	struct ipv6_view view = {
		.payload_length = ipv6[4] << 8 | ipv6[5],
		.traffic_class = ipv6[0] << 4 | ipv6[1] >> 4,
		.next_header = ipv6[6],
		.hop_limit = ipv6[7],
	};

	ipv4_header_from_ipv6(&view, source, destination, id, out);
}

void renumbered_header(const struct ipv4_header *from, __be32 source, __be32 destination, __u8 tos,
		       struct ipv4_header *to)
{
	ipv4_header_renumbered(from, source, destination, tos, to);
}

/* The MAP address of the owner of (ipv4, port); 0 where the rule's CEs have no such port. */
int owner_address(const struct rule *rule, __u32 ipv4, __u32 port, __be32 address[4])
{
	__u32 psid;

	if (!owned_under(rule, port, &psid))
		return 0;
	address_of_bits(map_address_of(rule, ipv4, psid), address);
	return 1;
}

int is_owner_address(const struct rule *rule, const __be32 address[4], __u32 ipv4, __u32 port)
{
	return is_map_address_of(rule, bits_of_address(address), ipv4, port);
}

__u32 ipv4_behind(const struct rule *rule, const __be32 address[4])
{
	return translated_ipv4(rule, bits_of_address(address));
}

/* Type << 8 | code of the error in the other family; NO_KIND where there is none. */
__u32 kind_46(__u8 type, __u8 code)
{
	return icmpv6_kind_from_icmp(KIND(type, code));
}

__u32 kind_64(__u8 type, __u8 code)
{
	return icmp_kind_from_icmpv6(KIND(type, code));
}

__u32 pointer_46(__u32 pointer)
{
	return icmpv6_pointer_from_icmp(pointer);
}

__u32 pointer_64(__u32 pointer)
{
	return icmp_pointer_from_icmpv6(pointer);
}

__u32 mtu_46(__u32 mtu, __u32 total_length, __u32 ipv6_mtu, __u32 ipv4_mtu)
{
	return icmpv6_mtu_from_icmp(mtu, total_length, ipv6_mtu, ipv4_mtu);
}

__u32 mtu_64(__u32 mtu, __u32 less, __u32 ipv6_mtu, __u32 ipv4_mtu)
{
	return icmp_mtu_from_icmpv6(mtu, less, ipv6_mtu, ipv4_mtu);
}

void lay_out(__u32 headers, __u32 payload, __u32 objects, __u32 unit, __u32 most, __u32 out[4])
{
	struct error_layout layout = lay_out_error(headers, payload, objects, unit, most);

	memcpy(out, &layout, sizeof(layout));
}
