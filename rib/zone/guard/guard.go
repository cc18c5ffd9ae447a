// Package guard judges, purely, whether one set of zones may replace another without a
// person: not if it loses too many, nor all, nor if it is older than what was there.
// Losses are summed up over a window, so that many small steps are one large one.
package guard
