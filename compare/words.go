package compare

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// si words a number in thousands and millions: 1.5M.
func si(x float64) string {
	value, prefix := humanize.ComputeSI(x)
	return fmt.Sprintf("%.3g%s", value, prefix)
}

// bytes words a number of bytes in decimal units: 1 MB = 1,000,000 bytes.
func bytes(x float64) string {
	value, prefix := humanize.ComputeSI(x)
	return fmt.Sprintf("%.3g %sB", value, prefix)
}

// percent words a fraction, to as many digits as a tick has.
func percent(x float64) string { return fmt.Sprintf("%.4g %%", 100*x) }

func plain(x float64) string { return fmt.Sprintf("%.4g", x) }

// digits returns a format of that many digits after the point.
func digits(n int) func(float64) string {
	return func(x float64) string {
		if math.Abs(x) >= 1e9 { // hundreds of digits, at the worst
			return strings.ReplaceAll(fmt.Sprintf("%.3g", x), "-", "−")
		}
		return strings.ReplaceAll(fmt.Sprintf("%.*f", n, x), "-", "−")
	}
}

// whole words a large number with its thousands apart.
func whole(x float64) string {
	if !(math.Abs(x) < 1<<53) { // NaN too
		return plain(x)
	}
	return humanize.Comma(int64(math.Round(x)))
}

// clock words seconds.
func clock(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.1fs", x)
	case x < math.MaxInt64/float64(time.Second):
		return time.Duration(x * float64(time.Second)).Round(time.Second).String()
	}
	return plain(x) + "s"
}
