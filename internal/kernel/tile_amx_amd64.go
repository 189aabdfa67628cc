//go:build amd64 && !noasm

package kernel

// tileConfig is what LDTILECFG loads: the palette, 16 bytes on, two each, the bytes of a tile's row, and another 32 on, one each, the
// number of a tile's rows.
type tileConfig [64]byte

// tileConfigs[r] is for blocks of C of r rows. Tiles 0 and 1 are the first 16 rows of C, 2 and 3 the others, 4 and 5 rows of A likewise;
// 6 and 7 are 16 steps of a panel. Every row is 64 bytes. Where r is at most 16, tiles 2, 3 and 5 do not exist.
var tileConfigs = func() (configs [2*tileRows + 1]tileConfig) {
	for r := range configs {
		upper, lower := min(r, tileRows), max(0, r-tileRows)
		configs[r][0] = 1 // the only palette
		for t, rows := range [8]int{upper, upper, lower, lower, upper, lower, tileRows, tileRows} {
			if rows > 0 {
				configs[r][16+2*t] = 64
				configs[r][48+t] = byte(rows)
			}
		}
	}
	return configs
}()

const tileRows = 16

// callAMX computes rows of the panel: blocks of 32, and what is left by a configuration of its own. A call of 512 rows and 288 columns takes
// some 10 µs.
func (t tileBF16) callAMX(rows int) {
	steps, lda, ldc, b := t.k/depthBF16, 2*t.lda, 4*t.ldc, &t.b[0]
	whole := rows / (2 * tileRows)
	if whole > 0 {
		matmulBlocksAMX(whole, steps, &t.a[0], lda, b, &t.c[0], ldc, t.accumulate, &tileConfigs[2*tileRows][0])
	}
	done := whole * 2 * tileRows
	rest := rows - done
	if rest == 0 {
		return
	}
	a, c, config := &t.a[done*t.lda], &t.c[done*t.ldc], &tileConfigs[rest][0]
	if rest > tileRows {
		matmulBlocksAMX(1, steps, a, lda, b, c, ldc, t.accumulate, config)
	} else {
		matmulRowsAMX(steps, a, lda, b, c, ldc, t.accumulate, config)
	}
}
