package compare

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// si formats a number in thousands and millions: 1.5M.
func si(x float64) string {
	value, prefix := humanize.ComputeSI(x)
	return fmt.Sprintf("%.3g%s", value, prefix)
}

// bytes formats a number of bytes in decimal units: 1 MB = 1,000,000 bytes.
func bytes(x float64) string {
	value, prefix := humanize.ComputeSI(x)
	return fmt.Sprintf("%.3g %sB", value, prefix)
}

// percent formats a fraction to the digits of a tick label.
func percent(x float64) string { return fmt.Sprintf("%.4g %%", 100*x) }

func plain(x float64) string { return fmt.Sprintf("%.4g", x) }

// digits returns a format of that many digits after the decimal point.
func digits(n int) func(float64) string {
	return func(x float64) string {
		if math.Abs(x) >= 1e9 { // up to hundreds of digits
			return strings.ReplaceAll(fmt.Sprintf("%.3g", x), "-", "−")
		}
		return strings.ReplaceAll(fmt.Sprintf("%.*f", n, x), "-", "−")
	}
}

// whole formats an integer with commas between thousands.
func whole(x float64) string {
	if !(math.Abs(x) < 1<<53) { // NaN too
		return plain(x)
	}
	return humanize.Comma(int64(math.Round(x)))
}

// clock formats seconds.
func clock(x float64) string {
	switch {
	case x < 10:
		return fmt.Sprintf("%.1fs", x)
	case x < math.MaxInt64/float64(time.Second):
		return time.Duration(x * float64(time.Second)).Round(time.Second).String()
	}
	return plain(x) + "s"
}

// points formats a fraction in percentage points.
func points(f float64) string { return digits(1)(100 * f) }
