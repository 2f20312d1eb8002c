/* SPDX-License-Identifier: MIT */
/* frame.h - the header of a frame (isospin-wire(7)) */
#ifndef ISO_BROKER_FRAME_H
#define ISO_BROKER_FRAME_H

#include "abi/iso_wire.h"
#include "base/wr.h"

/* Appends a header; len counts the header too. */
void frame_header(struct wr *out, uint32_t len, enum iso_type type,
		  uint32_t tag, uint32_t file);

/* Reads the header at p, which has sizeof(struct iso_hdr) bytes. */
struct iso_hdr frame_read(const uint8_t *p);

#endif /* ISO_BROKER_FRAME_H */
