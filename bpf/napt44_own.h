/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ports that one LAN endpoint owns: endpoint-independent mappings (RFC 4787 REQ-1, RFC 5382
 * REQ-1) and port forwards. The eim hash finds an endpoint's slot. */
#ifndef MAPXDP_NAPT44_OWN_H
#define MAPXDP_NAPT44_OWN_H

#include "filtering.h"
#include "napt44.h"

/* The helpers get copies: were a caller's variable to escape to them, the compiler could keep
 * nothing that lies around it in registers. */
INLINE const __u64 *eim_lookup(struct endpoint endpoint)
{
	return kernel_map_lookup(MAP(eim), &endpoint);
}

INLINE long eim_insert(struct endpoint endpoint, __u64 index)
{
	return kernel_map_update(MAP(eim), &endpoint, &index, BPF_NOEXIST);
}

/* Removes the index entry of an endpoint, unless it already points to another slot. */
INLINE void forget_endpoint(struct endpoint endpoint, __u64 slot_index)
{
	const __u64 *index = eim_lookup(endpoint);

	if (index && *index == slot_index)
		kernel_map_delete(MAP(eim), &endpoint);
}

/* The slot that the index names for the applicant, whoever owns it by now, and its position. */
INLINE struct mapping *indexed_slot(const struct applicant *applicant, __u32 *index)
{
	const __u64 *found = eim_lookup(applicant->endpoint);

	if (!found)
		return 0;
	*index = *found;
	return slot_at(*found);
}

INLINE _Bool note_owner(struct mapping *slot, __u32 slot_index, __u64 owner,
			const struct applicant *applicant)
{
	if (is_overdue(applicant->config, slot, applicant->now, 0, PRESSURE_NONE))
		return may_begin(applicant->transport) && revive(slot, owner, applicant);
	note_packet_46(slot, applicant);
	if (READ_ONCE(slot->peer) != applicant->peer)
		permit(applicant, slot, slot_index);
	return 1;
}

/* The port that the applicant owns, noted as used now; false where it owns none. */
INLINE _Bool own_port(const struct applicant *applicant, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = 0;
	struct mapping *slot = indexed_slot(applicant, &index);
	__u64 owner;

	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	if (owner == owner_word(&applicant->endpoint, SLOT_EIM)) {
		if (!note_owner(slot, index, owner, applicant))
			return 0;
	} else if (owner == owner_word(&applicant->endpoint, SLOT_STATIC)) {
		note_packet_46(slot, applicant);
	} else if (owner != owner_word(&applicant->endpoint, SLOT_CLAIMED)) {
		return 0; /* a stale index; a claim with our endpoint is about to be published */
	}
	*port = port_of_slot(&set, index - applicant->endpoint.protocol * SLOTS);
	return 1;
}

#endif
