// Package report says of PVs, VGs and LVs what the reports of lvm2 say: attribute strings,
// layouts, roles, and the fields of pvs, vgs and lvs. What depends on a kernel is as for an LV
// that is not active.
package report
