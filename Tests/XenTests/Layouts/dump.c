/* Prints where the members of Xen's domctl and sysctl structures lie, by the headers it is compiled with:
 * "NAME OFFSET SIZE" a line. The text files beside it are what it prints with those of a release:
 *
 *   git -C xen.git archive RELEASE-4.20.4 xen/include/public | tar x --transform 's,xen/include/public,xen,'
 *   cc -I. -o dump dump.c && ./dump >xen-4.20.txt
 */
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>

#define MEMBER(structure, member) \
    printf("%s.%s %zu %zu\n", #structure, #member, offsetof(struct structure, member), \
           sizeof(((struct structure *)0)->member))
#define STRUCTURE(structure) printf("%s 0 %zu\n", #structure, sizeof(struct structure))
#define CONSTANT(name) printf("%s %lu 0\n", #name, (unsigned long)(name))

int main(void)
{
    CONSTANT(XEN_DOMCTL_INTERFACE_VERSION);
    CONSTANT(XEN_SYSCTL_INTERFACE_VERSION);
    MEMBER(xen_domctl, cmd);
    MEMBER(xen_domctl, interface_version);
    MEMBER(xen_domctl, domain);
    MEMBER(xen_domctl, u);
    MEMBER(xen_sysctl, cmd);
    MEMBER(xen_sysctl, interface_version);
    MEMBER(xen_sysctl, u);
    STRUCTURE(xen_domctl_createdomain);
    MEMBER(xen_domctl_createdomain, handle);
    MEMBER(xen_domctl_createdomain, flags);
    MEMBER(xen_domctl_createdomain, max_vcpus);
    MEMBER(xen_domctl_createdomain, max_evtchn_port);
    MEMBER(xen_domctl_createdomain, max_grant_frames);
    MEMBER(xen_domctl_createdomain, max_maptrack_frames);
    MEMBER(xen_domctl_createdomain, grant_opts);
    MEMBER(xen_domctl_createdomain, vmtrace_size);
    MEMBER(xen_domctl_createdomain, cpupool_id);
    MEMBER(xen_domctl_createdomain, arch.emulation_flags);
    MEMBER(xen_domctl_createdomain, arch.misc_flags);
    STRUCTURE(xen_domctl_getdomaininfo);
    MEMBER(xen_domctl_getdomaininfo, domain);
    MEMBER(xen_domctl_getdomaininfo, flags);
    MEMBER(xen_domctl_getdomaininfo, tot_pages);
    MEMBER(xen_domctl_getdomaininfo, max_pages);
    MEMBER(xen_domctl_getdomaininfo, cpu_time);
    MEMBER(xen_domctl_getdomaininfo, shared_info_frame);
    MEMBER(xen_domctl_getdomaininfo, handle);
    MEMBER(xen_domctl_vcpuaffinity, vcpu);
    MEMBER(xen_domctl_vcpuaffinity, flags);
    MEMBER(xen_domctl_vcpuaffinity, cpumap_hard);
    MEMBER(xen_domctl_scheduler_op, sched_id);
    MEMBER(xen_domctl_scheduler_op, cmd);
    MEMBER(xen_domctl_scheduler_op, u.credit2.weight);
    MEMBER(xen_domctl_scheduler_op, u.credit2.cap);
    MEMBER(xen_domctl_hvmcontext, size);
    MEMBER(xen_domctl_hvmcontext, buffer);
    MEMBER(xen_domctl_vcpucontext, vcpu);
    MEMBER(xen_domctl_vcpucontext, ctxt);
    MEMBER(xen_domctl_cpu_policy, nr_leaves);
    MEMBER(xen_domctl_cpu_policy, nr_msrs);
    MEMBER(xen_domctl_cpu_policy, leaves);
    MEMBER(xen_domctl_cpu_policy, msrs);
    STRUCTURE(xen_cpuid_leaf);
    MEMBER(xen_cpuid_leaf, leaf);
    MEMBER(xen_cpuid_leaf, subleaf);
    MEMBER(xen_cpuid_leaf, a);
    MEMBER(xen_cpuid_leaf, d);
    MEMBER(xen_domctl_tsc_info, tsc_mode);
    MEMBER(xen_domctl_tsc_info, gtsc_khz);
    MEMBER(xen_domctl_tsc_info, incarnation);
    MEMBER(xen_domctl_tsc_info, elapsed_nsec);
    MEMBER(xen_sysctl_physinfo, nr_cpus);
    MEMBER(xen_sysctl_physinfo, max_cpu_id);
    MEMBER(xen_sysctl_physinfo, total_pages);
    MEMBER(xen_sysctl_physinfo, free_pages);
    MEMBER(xen_sysctl_getdomaininfolist, first_domain);
    MEMBER(xen_sysctl_getdomaininfolist, max_domains);
    MEMBER(xen_sysctl_getdomaininfolist, buffer);
    MEMBER(xen_sysctl_getdomaininfolist, num_domains);
    CONSTANT(XEN_DOMCTL_createdomain);
    CONSTANT(XEN_DOMCTL_destroydomain);
    CONSTANT(XEN_DOMCTL_pausedomain);
    CONSTANT(XEN_DOMCTL_unpausedomain);
    CONSTANT(XEN_DOMCTL_getdomaininfo);
    CONSTANT(XEN_DOMCTL_setvcpuaffinity);
    CONSTANT(XEN_DOMCTL_max_mem);
    CONSTANT(XEN_DOMCTL_max_vcpus);
    CONSTANT(XEN_DOMCTL_scheduler_op);
    CONSTANT(XEN_DOMCTL_setdomainhandle);
    CONSTANT(XEN_DOMCTL_getvcpucontext);
    CONSTANT(XEN_DOMCTL_gethvmcontext);
    CONSTANT(XEN_DOMCTL_sethvmcontext);
    CONSTANT(XEN_DOMCTL_settscinfo);
    CONSTANT(XEN_DOMCTL_get_cpu_policy);
    CONSTANT(XEN_DOMCTL_set_cpu_policy);
    CONSTANT(XEN_DOMCTL_set_paging_mempool_size);
    CONSTANT(XEN_SYSCTL_physinfo);
    CONSTANT(XEN_SYSCTL_getdomaininfolist);
    CONSTANT(XEN_DOMCTL_CDF_hvm);
    CONSTANT(XEN_DOMCTL_CDF_hap);
    CONSTANT(XEN_X86_EMU_LAPIC);
    CONSTANT(XEN_SCHEDULER_CREDIT2);
    CONSTANT(XEN_DOMCTL_SCHEDOP_putinfo);
    CONSTANT(XEN_DOMCTL_SCHEDOP_getinfo);
    CONSTANT(XEN_VCPUAFFINITY_HARD);
    CONSTANT(XEN_DOMINF_dying);
    CONSTANT(XEN_DOMINF_shutdown);
    CONSTANT(XEN_DOMINF_paused);
    CONSTANT(XEN_DOMINF_blocked);
    CONSTANT(XEN_DOMINF_running);
    return 0;
}
