/* SPDX-License-Identifier: MIT */
/* frame.c - puts a frame's header into bytes or takes it from them */
#include "broker/child/frame.h"

#include "base/rd.h"

void frame_header(struct wr *out, uint32_t len, enum iso_type type,
		  uint32_t tag, uint32_t file)
{
	wr_u32(out, len);
	wr_u16(out, (uint16_t)type);
	wr_u16(out, 0);
	wr_u32(out, tag);
	wr_u32(out, file);
}

struct iso_hdr frame_read(const uint8_t *p)
{
	struct rd r = rd_init(p, sizeof(struct iso_hdr));
	struct iso_hdr h;

	h.len = rd_u32(&r);
	h.type = rd_u16(&r);
	h.flags = rd_u16(&r);
	h.tag = rd_u32(&r);
	h.file = rd_u32(&r);
	return h;
}
