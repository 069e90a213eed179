// What a timing depends on besides the code: processor, clock, other load, memory. Data flow: harness.cpp asks before and after every group of rows.
// Units: seconds, bytes, GHz. Linux answers everything (/proc); what a system does not tell is NaN or 0 and is reported as unknown, never guessed.
// Deliberately absent: pinning, governor and boost settings (the machine is measured as it is found), performance counters.
#pragma once
#include <cstddef>
#include <string>

namespace bench {

double seconds();                ///< of a monotonic clock
std::string cpu_name();          ///< with family, model and stepping: virtual machines hide the name
int cpu_count();
std::size_t last_level_cache();  ///< as the system shows it; 32 MiB if unknown
double load_average();           ///< of the last minute

/// Core clock from a chain of dependent multiplications, 3 cycles each on every x86-64 core since 2008; the best of several short chains, so that only a clock
/// that really changed shows, not an interruption. Elsewhere the number is good for comparing before and after.
double chain_ghz();

/// Time that this process was ready to run and another one was running, summed over its threads; what add_waited() was told of child processes counts too.
double seconds_waited();
void add_waited(double seconds);
/// Time that the hypervisor gave to other machines, summed over the cores.
double seconds_stolen();

std::size_t resident_bytes();       ///< now
std::size_t peak_resident_bytes();  ///< since the start or the last reset_peak()
bool reset_peak();                  ///< false where the system does not allow it

}  // namespace bench
