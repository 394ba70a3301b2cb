// Package plan decides how an IAM user's access keys move. It owns every
// decision that could take access away, and the arithmetic of schedules.
//
// [Next] looks at a [World] (what the store remembers and what IAM answers)
// and names exactly one [Step] with its reason. [Apply] says what the record
// looks like once that step has had its effect. Recovery after a crash is not
// a separate path: a crash leaves a world, and Next has an answer for every
// world.
//
// The stages of a key:
//
//	            create            proof, publish, promote
//	(nothing) ─────────▶ Pending ────────────────────────▶ Current
//	                        │                                 │ successor promoted
//	                        │ never accepted                  ▼
//	                        └──────────▶ (deleted) ◀────── Previous ◀── Retiring (was there before keyrot)
//	                                       delete    deactivate
//
// Everything here is pure: no clock, context, I/O, logging, randomness or
// secret. Time is an argument; reasons are part of the result.
package plan
