//go:build !noasm

package kernel

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/klauspost/cpuid/v2"
)

// TestTileConfigs holds the configurations to what LDTILECFG and TDPBF16PS demand: nothing reserved set, tiles of no more than 16
// rows of 64 bytes, both or neither 0, and operands whose shapes agree.
func TestTileConfigs(t *testing.T) {
	for r := 1; r <= 2*tileRows; r++ {
		c := tileConfigs[r]
		var rows, width [8]int
		for i := range rows {
			rows[i], width[i] = int(c[48+i]), int(binary.LittleEndian.Uint16(c[16+2*i:]))
			c[48+i], c[16+2*i], c[17+2*i] = 0, 0, 0
			if rows[i] > tileRows || width[i] != 64 && width[i] != 0 || (rows[i] == 0) != (width[i] == 0) {
				t.Errorf("%d rows: tile %d has %d rows of %d bytes", r, i, rows[i], width[i])
			}
		}
		if c != (tileConfig{0: 1}) {
			t.Errorf("%d rows: palette and reserved bytes %v", r, c)
		}
		if rows[0]+rows[2] != r || r > tileRows && rows[0] != tileRows {
			t.Errorf("%d rows: C is %d + %d", r, rows[0], rows[2])
		}
		for i := range 4 { // C[i] += A[i/2] · B[i%2]
			if rows[i] != rows[4+i/2] || rows[6+i%2] != tileRows || rows[i] > 0 && width[4+i/2] != 4*tileRows {
				t.Errorf("%d rows: tile %d of C has %d rows, A %d, B %d", r, i, rows[i], rows[4+i/2], rows[6+i%2])
			}
		}
	}
}

// TestAMX runs every height of a block, exactly as defined.
func TestAMX(t *testing.T) {
	if !supported(amx) {
		t.Skip("no AMX: the processor lacks it, or the operating system does not permit it")
	}
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			t.Fatal(err)
		}
	}()
	if err := Use("amx"); err != nil {
		t.Fatal(err)
	}
	r := newSource(11)
	normal := func(s []float32) { r.normal(s, 1) }
	for m := 1; m <= 70; m++ {
		for _, depth := range []int{32, 96, 320} {
			const rows = 33
			w := NewPanelsBF16(rows, depth)
			src := r.matrix(rows, depth, depth, normal)
			w.Pack(0, src, rows)
			lda, ldc := depth+r.IntN(40), rows+r.IntN(40)
			a := r.matrixBF16(m, depth, lda, normal)
			c, check := guarded(m*ldc, r.IntN(16))
			normal(c)
			want := append([]float32(nil), c...)
			for j := range rows {
				row := make([]uint16, depth)
				RoundBF16(row, src[j*depth:][:depth])
				for i := range m {
					want[i*ldc+j] = chainBF16(amx, a[i*lda:][:depth], row, want[i*ldc+j])
				}
			}
			MatMulBF16(c, ldc, a, lda, m, w, 0, w.Panels(), true)
			requireSame(t, fmt.Sprintf("%d x %d x %d", m, rows, depth), c, want)
			check(t)
		}
	}
}

// TestBest holds the default: AMX where there is AMX, and AVX512-BF16 only where it is faster than AVX-512.
func TestBest(t *testing.T) {
	v := best()
	switch {
	case supported(amx) && v != amx,
		!supported(amx) && supported(avx512bf16) && (v == avx512bf16) != (cpuid.CPU.VendorID == cpuid.AMD),
		!supported(v),
		v < avx512 && supported(avx512):
		t.Errorf("%q by default among %v on %v", variantNames[v], Variants(), cpuid.CPU.VendorID)
	}
}

// TestFloat32Variant holds that the variants for bfloat16 keep float32 numbers exact.
func TestFloat32Variant(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		if want := min(currentBF16(), avx512); current() != want || variantNames[currentBF16()] != Active() {
			t.Errorf("float32 by %q, bfloat16 by %q, want %q and %q", variantNames[current()], variantNames[currentBF16()], variantNames[want], Active())
		}
	})
}
