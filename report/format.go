package report

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
)

// formatBytes formats n in decimal units: 1 kB = 1000 B.
func formatBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	const prefixes = "kMGTP"
	x, i := float64(n)/1000, 0
	for ; i+1 < len(prefixes) && x >= 999.95; i++ { // which prints as 1000.0
		x /= 1000
	}
	return fmt.Sprintf("%.1f %cB", x, prefixes[i])
}

// percent formats a fraction, "-" if it is not finite.
func percent(fraction float64) string {
	if !finite(fraction) {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*fraction)
}

// rate formats a number per second: three digits, or all before the decimal point.
func rate(perSecond float64) string {
	switch {
	case !finite(perSecond):
		return "-"
	case perSecond >= 100:
		return humanize.Comma(int64(math.Round(perSecond)))
	}
	return fmt.Sprintf("%.3g", perSecond)
}

// seconds formats a duration such as 1h2m3s, "-" if it is not finite.
func seconds(s float64) string {
	if !finite(s) {
		return "-"
	}
	return (time.Duration(math.Round(s)) * time.Second).String()
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
