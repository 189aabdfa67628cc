package kernel

// The types of this file hold super-blocks of 256 weights in sub-blocks of 16 or 32, whose
// small integer scales are multiplied by one binary16 scale d of the super-block (minima by
// dmin). Products and sums are float32, rounded after each in the order written, as the reference
// does.

// decodeQ2K reads 84 bytes: scales[16], qs[64], d, dmin.
// Sub-block s is weights 16s…16s+15, its scale the low and its minimum the high nibble of
// scales[s]. Weight 128h+32k+l has bits 2k, 2k+1 of qs[32h+l].
// w = (d·scale)·q - dmin·min.
func decodeQ2K(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[84:], dst[256:] {
		scales, qs := (*[16]byte)(src), (*[64]byte)(src[16:])
		d, dmin := half(src[80:]), half(src[82:])
		for s, sc := range scales {
			dl, ml := float32(d*float32(sc&15)), float32(dmin*float32(sc>>4))
			var values [4]float32
			for q := range values {
				values[q] = float32(dl*float32(q)) - ml
			}
			w, shift := (*[16]float32)(dst[16*s:]), s/2%4*2
			for l, q := range (*[16]byte)(qs[s/8*32+s%2*16:]) {
				w[l] = values[q>>shift&3]
			}
		}
	}
}

// decodeQ3K reads 110 bytes: hmask[32], qs[64], scales[12], d.
// Sub-block s is weights 16s…16s+15; its scale is six bits, less 32: the low four are a nibble of
// scales[0…7] (low nibbles for s < 8), the high two lie in scales[8+s%4] at bit 2·(s/4). Weight
// 128h+32k+l has bits 2k, 2k+1 of qs[32h+l] as its low bits, and 4 is taken off where bit 4h+k of
// hmask[l] is clear.
// w = (d·scale)·q.
func decodeQ3K(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[110:], dst[256:] {
		hmask, qs, scales := (*[32]byte)(src), (*[64]byte)(src[32:]), (*[12]byte)(src[96:])
		d := half(src[108:])
		for s := range 16 {
			sc := int(scales[s%8]>>(s/8*4)&15|scales[8+s%4]>>(s/4*2)&3<<4) - 32
			dl := float32(d * float32(sc))
			var values [8]float32
			for q := range values {
				values[q] = dl * float32(q-4)
			}
			w, shift, high := (*[16]float32)(dst[16*s:]), s/2%4*2, s/2
			hm := (*[16]byte)(hmask[s%2*16:])
			for l, q := range (*[16]byte)(qs[s/8*32+s%2*16:]) {
				w[l] = values[q>>shift&3|hm[l]>>high&1<<2]
			}
		}
	}
}

// scaleMinK is the six-bit scale and minimum of sub-block s < 8 in the 12 bytes of Q4_K and Q5_K:
// whole in bytes s and s+4 for s < 4; for others the low nibble of each is in byte s+4 and the
// high two bits in the top of bytes s-4 and s.
func scaleMinK(sc *[12]byte, s int) (scale, minimum float32) {
	if s < 4 {
		return float32(sc[s] & 63), float32(sc[s+4] & 63)
	}
	return float32(sc[s+4]&15 | sc[s-4]>>6<<4), float32(sc[s+4]>>4 | sc[s]>>6<<4)
}

// decodeQ4K reads 144 bytes: d, dmin, scales[12], qs[128].
// Sub-block s is weights 32s…32s+31; weight 64c+l has the low nibble of qs[32c+l], weight
// 64c+32+l the high one.
// w = (d·scale)·q - dmin·min.
func decodeQ4K(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[144:], dst[256:] {
		d, dmin, scales := half(src), half(src[2:]), (*[12]byte)(src[4:])
		for c := range 4 {
			var low, high [16]float32
			for k, values := range []*[16]float32{&low, &high} {
				sc, m := scaleMinK(scales, 2*c+k)
				dl, ml := float32(d*sc), float32(dmin*m)
				for q := range values {
					values[q] = float32(dl*float32(q)) - ml
				}
			}
			w := (*[64]float32)(dst[64*c:])
			for l, q := range (*[32]byte)(src[16+32*c:]) {
				w[l] = low[q&15]
				w[l+32] = high[q>>4]
			}
		}
	}
}

// decodeQ5K reads 176 bytes: d, dmin, scales[12], qh[32], qs[128].
// As Q4_K, with bit s of qh[l] as the fifth bit of weight 32s+l.
// w = (d·scale)·q - dmin·min.
func decodeQ5K(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[176:], dst[256:] {
		d, dmin, scales := half(src), half(src[2:]), (*[12]byte)(src[4:])
		qh := (*[32]byte)(src[16:])
		for s := range 8 {
			sc, m := scaleMinK(scales, s)
			dl, ml := float32(d*sc), float32(dmin*m)
			w, shift := (*[32]float32)(dst[32*s:]), s%2*4
			for l, q := range (*[32]byte)(src[48+s/2*32:]) {
				w[l] = float32(dl*float32(q>>shift&15|qh[l]>>s&1<<4)) - ml
			}
		}
	}
}

// decodeQ6K reads 210 bytes: ql[128], qh[64], scales[16] of int8, d.
// Sub-block s is weights 16s…16s+15. Weight 128h+32k+l has as its low four bits the low (k < 2)
// or high nibble of ql[64h+32(k%2)+l], as its high two bits 2k, 2k+1 of qh[32h+l]; less 32.
// w = (d·scale)·q.
func decodeQ6K(dst []float32, src []byte) {
	for ; len(dst) > 0; src, dst = src[210:], dst[256:] {
		ql, qh, scales := (*[128]byte)(src), (*[64]byte)(src[128:]), (*[16]byte)(src[192:])
		d := half(src[208:])
		for s := range 16 {
			dl := float32(d * float32(int8(scales[s])))
			h, k, l0 := s/8, s/2%4, s%2*16
			w, high := (*[16]float32)(dst[16*s:]), (*[16]byte)(qh[32*h+l0:])
			low, high2 := k/2*4, 2*k
			for l, q := range (*[16]byte)(ql[64*h+k%2*32+l0:]) {
				w[l] = dl * float32(int32(q>>low&15|high[l]>>high2&3<<4)-32)
			}
		}
	}
}
