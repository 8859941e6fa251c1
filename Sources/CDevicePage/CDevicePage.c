// SwiftPM wants a source file; the definitions are all in the header.
#include "chaos_device_page.h"
