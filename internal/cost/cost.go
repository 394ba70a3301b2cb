// Package cost works out what keyrot costs in AWS each month. It is pure
// arithmetic: the numbers of operations are those that keyrot's own stores
// make, which a test counts, and the prices are AWS's list prices in
// us-east-1, in US dollars, without free tiers except where a price says so.
package cost

import "time"

// Month is the 730 hours that AWS's calculators take.
const Month = 730 * time.Hour

// Prices, in US dollars (November 2026).
const (
	dynamoWrite = 0.625e-6 // per write unit of 1 kB, on demand (DynamoDB pricing, since November 2024)
	dynamoRead  = 0.125e-6 // per read unit of 4 kB, on demand
	kmsKey      = 1.0      // per customer-managed key (AWS KMS pricing)
	kmsRequest  = 0.03 / 10_000
	kmsFree     = 20_000      // requests a month
	lambdaCall  = 0.20 / 1e6  // per request (AWS Lambda pricing)
	lambdaGBs   = 13.33334e-6 // per GB-second on arm64
	gateway     = 3.50 / 1e6  // per REST API request (API Gateway pricing)
	event       = 0.0         // scheduled rules of the default bus are free (EventBridge pricing)
	alarm       = 0.10        // (CloudWatch pricing)
	metric      = 0.30        // custom metric
	logGB       = 0.50        // ingested
	smSecret    = 0.40        // per secret (Secrets Manager pricing)
	smCall      = 0.05 / 10_000
)

// Operations of DynamoDB and KMS, in units. WriteUnits counts a transactional
// write twice, as DynamoDB does, and the due index's copy of an item.
type Operations struct {
	ReadUnits, WriteUnits, KMSCalls float64
}

// What one rotation, one pass over a user with nothing due, and one hand-out
// take from the table and from KMS. The test of this package counts them.
var (
	PerRotation = Operations{}
	PerLook     = Operations{}
	PerHandout  = Operations{}
)

// Load is how keyrot is used.
type Load struct {
	Users       int
	RotateEvery time.Duration
	// Handouts is how many keys each user's callers ask for in each rotation.
	// Zero: one.
	Handouts float64
	// Tick is how often every user is looked at. Zero: a minute.
	Tick time.Duration
}

// Line is one item of a bill.
type Line struct {
	Name    string  `json:"name"`
	Dollars float64 `json:"dollars"` // a month
}

// Bill is the monthly cost of one way to run keyrot.
type Bill struct {
	Name  string `json:"name"`
	Lines []Line `json:"lines"`
}

// Total of all lines.
func (b Bill) Total() (sum float64) {
	for _, l := range b.Lines {
		sum += l.Dollars
	}
	return sum
}
