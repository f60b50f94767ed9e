/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the control plane may ask for: a command in place of a packet, run once by
 * BPF_PROG_TEST_RUN. So every change of a mapping, from whichever side, follows one protocol.
 */
#ifndef MAPXDP_CONTROL_H
#define MAPXDP_CONTROL_H

#include "napt44_alloc.h"
#include "sweep.h"

/* A free slot becomes a port forward. An endpoint may have several: the first one is the port
 * of what it sends. */
INLINE enum command_result make_forward(const struct command *command)
{
	const struct config *config = active_config();
	__u32 protocol = command->slot / SLOTS;
	__u32 position = command->slot - protocol * SLOTS;
	struct mapping *slot;
	long error;

	if (protocol >= PROTOCOLS || command->endpoint.protocol != protocol ||
	    position >= config->port_count)
		return COMMAND_MALFORMED;
	slot = claim_free(protocol, position, owner_word(&command->endpoint, SLOT_CLAIMED));
	if (!slot)
		return COMMAND_CHANGED;
	slot->tick_46 = slot->tick_64 = slot->created = current_tick(config);
	slot->flags = slot->peer = 0;
	slot->timeout_class = protocol; /* the first classes are the protocols */
	slot->generation++;
	error = eim_insert(command->endpoint, command->slot);
	if (error != INSERT_OK && error != INSERT_EXISTS) {
		give_back(protocol, slot, position);
		return COMMAND_INDEX_FULL;
	}
	publish_owner(slot, owner_word(&command->endpoint, SLOT_STATIC));
	return COMMAND_DONE;
}

/* A free slot is taken out of use. */
INLINE enum command_result reserve_slot(const struct command *command)
{
	__u32 protocol = command->slot / SLOTS;
	__u32 position = command->slot - protocol * SLOTS;

	if (protocol >= PROTOCOLS || position >= active_config()->port_count)
		return COMMAND_MALFORMED;
	if (!claim_free(protocol, position, (__u64)SLOT_RESERVED << OWNER_STATE_SHIFT))
		return COMMAND_CHANGED;
	count_freed(protocol); /* what is reserved is not counted as used */
	return COMMAND_DONE;
}

INLINE enum command_result unreserve_slot(const struct command *command, struct mapping *slot)
{
	__u32 protocol = command->slot / SLOTS;

	if (!swap_owner(slot, command->owner, 0))
		return COMMAND_CHANGED;
	mark_free(protocol, command->slot - protocol * SLOTS);
	return COMMAND_DONE;
}

INLINE enum command_result release_slot(const struct command *command)
{
	const struct config *config = active_config();
	__u32 protocol = command->slot / SLOTS;
	__u32 position = command->slot - protocol * SLOTS;
	struct mapping *slot = slot_at(command->slot);
	enum slot_state state = owner_state(command->owner);

	if (!slot || protocol >= PROTOCOLS)
		return COMMAND_MALFORMED;
	if (state == SLOT_RESERVED)
		return unreserve_slot(command, slot);
	if (state != SLOT_EIM && state != SLOT_STATIC)
		return COMMAND_MALFORMED;
	if (!swap_owner(slot, command->owner, with_state(command->owner, SLOT_DYING)))
		return COMMAND_CHANGED;
	if (state == SLOT_EIM)
		end_own_mapping(config, slot, command->slot, command->owner, current_tick(config));
	else
		forget_endpoint(endpoint_of(command->owner, protocol), command->slot);
	give_back(protocol, slot, position);
	return COMMAND_DONE;
}

INLINE enum command_result end_flow_now(const struct command *command)
{
	const struct config *config = active_config();
	struct mapping *flow = flow_at(command->slot);

	if (!flow || owner_state(command->owner) != SLOT_FLOW)
		return COMMAND_MALFORMED;
	if (!swap_owner(flow, command->owner, with_state(command->owner, SLOT_DYING)))
		return COMMAND_CHANGED;
	end_flow(config, flow, command->slot, command->owner, current_tick(config));
	return COMMAND_DONE;
}

INLINE enum command_result sweep_once(void)
{
	const struct config *config = active_config();
	__u32 now = current_tick(config);

	if (sweep_is_due(now))
		sweep(config, now);
	return sweep_is_due(now) ? COMMAND_CHANGED : COMMAND_DONE;
}

INLINE enum command_result obey(const struct command *command)
{
	switch (command->kind) {
	case COMMAND_FORWARD:
		return make_forward(command);
	case COMMAND_RESERVE:
		return reserve_slot(command);
	case COMMAND_RELEASE_SLOT:
		return release_slot(command);
	case COMMAND_RELEASE_FLOW:
		return end_flow_now(command);
	case COMMAND_SWEEP:
		return sweep_once();
	default:
		return COMMAND_MALFORMED;
	}
}

#endif
