/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map of the datapath. The control plane creates, pins and checks them from this list.
 *
 *   X(name, BPF_MAP_TYPE_, key, value, entries, BPF_F_ flags)
 *
 *   config     written by the control plane; read once by each program run
 *   slots      written by the datapath only; read by the views
 *   bitmap     search hint beside slots
 *   eim        LAN endpoint -> position in slots; each hit is checked against the owner word
 *   counters   per direction and reason; written by the datapath, read by the views
 *   programs   tail calls; written by the loader, one map for each load
 *   instance   written once by the control plane
 */
#ifndef MAPXDP_MAPS_H
#define MAPXDP_MAPS_H

/* clang-format off */
#define MAPXDP_MAPS(X) \
	X(config, ARRAY, __u32, struct config_buffer, 1, 0) \
	X(slots, ARRAY, __u32, struct slot, PROTOCOLS * SLOTS, BPF_F_MMAPABLE) \
	X(bitmap, ARRAY, __u32, struct bitmap, 1, 0) \
	X(eim, HASH, struct endpoint, __u64, EIM_ENTRIES, 0) \
	X(counters, PERCPU_ARRAY, __u32, struct counter, DIRECTIONS * (REASONS_MAX + 0), 0) \
	X(programs, PROG_ARRAY, __u32, __u32, PROGRAMS, 0) \
	X(instance, ARRAY, __u32, struct instance, 1, 0)
/* clang-format on */

#endif
