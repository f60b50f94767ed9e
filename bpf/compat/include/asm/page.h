/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bcc's ring buffer macro names it; the datapath does not. */
#define PAGE_SIZE 4096
