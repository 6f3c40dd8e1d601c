// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Turns canonical bitcode files into one native object per ISA: the passes that all ISAs share are run once,
// and one process does many files, because starting LLVM takes longer than compiling a small one.
//
// usage: popcorn-lower PLUGIN PASSES NEVER DIR < LIST
//        popcorn-lower calls < LIST
//
// PASSES is the pipeline for the module as a whole; NEVER is the plugin's -popcorn-never. Each line of LIST is
// INPUT UNIT KIND: DIR/<isa>/UNIT.o is written for each ISA, with points of that KIND. The second form prints who calls
// whom:
//
//   F UNIT NAME local|global loop|- CALLEE...    a function; CALLEE is * for an indirect call
//   A UNIT NAME TARGET                            an alias
//   C NAME                                        what code generation may call by itself

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/CFG.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Passes/PassPlugin.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include <iostream>
#include <set>
#include <sstream>

using namespace llvm;

namespace {

struct Isa {
  const char *Name, *Triple, *Cpu, *Features;
};

// What clang-19 takes for these targets, but for linker relaxation on riscv64, which would move code.
const Isa Isas[] = {
    {"x86-64", "x86_64-unknown-linux-musl", "x86-64", "+cx8,+cmov,+fxsr,+mmx,+sse,+sse2,+x87"},
    {"aarch64", "aarch64-unknown-linux-musl", "generic", "+fp-armv8,+neon,+v8a"},
    {"riscv64", "riscv64-unknown-linux-musl", "generic-rv64", "+64bit,+a,+c,+d,+f,+m,+zicsr,+zifencei,-relax"},
};

[[noreturn]] void die(const Twine &What) {
  errs() << "popcorn-lower: " << What << "\n";
  exit(1);
}

std::unique_ptr<Module> read(const std::string &File, LLVMContext &C) {
  SMDiagnostic Diag;
  std::unique_ptr<Module> M = parseIRFile(File, Diag, C);
  if (!M)
    die(File + ": " + Diag.getMessage());
  return M;
}

class Lower {
public:
  Lower(StringRef PluginFile, StringRef Passes, StringRef NeverFile, StringRef Dir)
      : Plugin(load(PluginFile)), Passes(Passes), NeverOption("-popcorn-never=" + NeverFile.str()), Dir(Dir) {
    ErrorOr<std::unique_ptr<MemoryBuffer>> Names = MemoryBuffer::getFile(NeverFile);
    if (!Names)
      die(NeverFile + ": " + Names.getError().message());
    for (line_iterator Line(**Names); !Line.is_at_eof(); ++Line)
      Never.insert(*Line);
    for (const Isa &I : Isas) {
      std::string Error;
      const Target *T = TargetRegistry::lookupTarget(I.Triple, Error);
      if (!T)
        die(Error);
      TargetOptions O;
      O.FunctionSections = O.DataSections = O.UniqueSectionNames = true;
      O.ForceDwarfFrameSection = true;	// for backtraces; not loaded, and dropped without -g
      Machines.emplace_back(T->createTargetMachine(I.Triple, I.Cpu, I.Features, O, Reloc::Static,
                                                   CodeModel::Small, CodeGenOptLevel::Default));
      if (StringRef(I.Name) == "riscv64")
        Machines.back()->Options.MCOptions.ABIName = "lp64d";
    }
  }

  void file(const std::string &Input, const std::string &Unit, const std::string &Kind) {
    LLVMContext C;
    std::unique_ptr<Module> M = read(Input, C);
    options(Unit, Kind);
    keepApart(*M);
    run(*M, Passes, Machines[0].get(), false);
    for (unsigned N = 0; N < std::size(Isas); N++) {
      const char *Isa = Isas[N].Name;
      TargetMachine *TM = Machines[N].get();
      std::unique_ptr<Module> Copy = CloneModule(*M);
      run(*Copy, std::string("popcorn-retarget-") + Isa, TM, false);
      run(*Copy, "default<O2>", TM, true);
      write(Dir + "/" + Isa + "/" + Unit + ".o", [&](raw_pwrite_stream &OS) {
        legacy::PassManager PM;
        if (TM->addPassesToEmitFile(PM, OS, nullptr, CodeGenFileType::ObjectFile))
          die("no object files for " + Twine(Isa));
        PM.run(*Copy);
      });
    }
  }

private:
  static PassPlugin load(StringRef File) {
    Expected<PassPlugin> P = PassPlugin::Load(File.str());
    if (!P)
      die(toString(P.takeError()));
    return *P;
  }

  // The plugin's options are LLVM's: given anew for each file, as a process of its own would get them.
  void options(const std::string &Unit, const std::string &Kind) {
    cl::ResetAllOptionOccurrences();
    std::vector<std::string> Args{"popcorn-lower", "-popcorn-unit=" + Unit, "-popcorn-points=" + Kind};
    Args.push_back(NeverOption);
    if (Kind == "manual") // no loops that stop: nothing to gain from copies
      Args.push_back("-popcorn-clone-max=0");
    std::vector<const char *> Argv;
    for (std::string &A : Args)
      Argv.push_back(A.c_str());
    cl::ParseCommandLineOptions(Argv.size(), Argv.data());
  }

  // Each call under which a thread may move costs code for all that is live there, which is more in a function that
  // others have been inlined into: those with several such calls stay by themselves.
  void keepApart(Module &M) {
    DenseMap<Function *, unsigned> Sites;
    auto mayMove = [&](const CallBase &CB) {
      if (isa<IntrinsicInst>(CB) || CB.isInlineAsm())
        return false;
      auto *F = dyn_cast<Function>(CB.getCalledOperand()->stripPointerCasts());
      return !F || (F->isDeclaration() ? !Never.contains(F->getName()) : Sites.lookup(F) != 0);
    };
    for (bool Changed = true; Changed;) {
      Changed = false;
      for (Function &F : M) {
        unsigned N = count_if(instructions(F), [&](Instruction &I) {
          auto *CB = dyn_cast<CallBase>(&I);
          return CB && mayMove(*CB);
        });
        Changed |= std::exchange(Sites[&F], N) != N;
      }
    }
    for (auto [F, N] : Sites)
      if (N > 1 && !F->hasFnAttribute(Attribute::AlwaysInline) && !Never.contains(F->getName()))
        F->addFnAttr(Attribute::NoInline);
  }

  // Vectors are each ISA's own; what the ISAs share is weighed up for x86-64.
  void run(Module &M, StringRef Pipeline, TargetMachine *TM, bool Vectors) {
    PipelineTuningOptions Tuning;
    Tuning.LoopVectorization = Tuning.SLPVectorization = Vectors;
    PassBuilder PB(TM, Tuning);
    LoopAnalysisManager LAM;
    FunctionAnalysisManager FAM;
    CGSCCAnalysisManager CGAM;
    ModuleAnalysisManager MAM;
    Plugin.registerPassBuilderCallbacks(PB);
    PB.registerModuleAnalyses(MAM);
    PB.registerCGSCCAnalyses(CGAM);
    PB.registerFunctionAnalyses(FAM);
    PB.registerLoopAnalyses(LAM);
    PB.crossRegisterProxies(LAM, FAM, CGAM, MAM);
    ModulePassManager MPM;
    if (Error E = PB.parsePassPipeline(MPM, Pipeline))
      die(Pipeline + ": " + toString(std::move(E)));
    MPM.run(M, MAM);
  }

  template <typename F> static void write(const std::string &File, F Emit) {
    std::error_code E;
    {
      raw_fd_ostream OS(File + ".part", E);
      if (E)
        die(File + ": " + E.message());
      Emit(OS);
    }
    if ((E = sys::fs::rename(File + ".part", File)))
      die(File + ": " + E.message());
  }

  PassPlugin Plugin;
  StringSet<> Never;
  std::string Passes, NeverOption, Dir;
  std::vector<std::unique_ptr<TargetMachine>> Machines;
};

// Whether a function has a loop, which its unoptimized form shows as well as any other.
bool hasLoop(const Function &F) {
  SmallVector<std::pair<const BasicBlock *, const BasicBlock *>> Back;
  FindFunctionBackedges(F, Back);
  return !Back.empty();
}

void printCalls(const std::string &Input, const std::string &Unit) {
  LLVMContext C;
  std::unique_ptr<Module> M = read(Input, C);
  for (const Function &F : *M) {
    if (F.isDeclaration())
      continue;
    std::set<StringRef> Callees;
    for (const Instruction &I : instructions(F)) {
      auto *CB = dyn_cast<CallBase>(&I);
      if (!CB || isa<IntrinsicInst>(CB) || CB->isInlineAsm())
        continue;
      auto *Callee = dyn_cast<GlobalValue>(CB->getCalledOperand()->stripPointerCasts());
      Callees.insert(Callee ? Callee->getName() : "*");
    }
    outs() << "F " << Unit << " " << F.getName() << (F.hasLocalLinkage() ? " local" : " global")
           << (hasLoop(F) ? " loop" : " -");
    for (StringRef Name : Callees)
      outs() << " " << Name;
    outs() << "\n";
  }
  for (const GlobalAlias &A : M->aliases())
    outs() << "A " << Unit << " " << A.getName() << " " << A.getAliasee()->stripPointerCasts()->getName() << "\n";
}

} // namespace

int main(int Argc, char **Argv) {
  std::unique_ptr<Lower> L;
  if (Argc == 5) {
    InitializeAllTargetInfos();
    InitializeAllTargets();
    InitializeAllTargetMCs();
    InitializeAllAsmPrinters();
    InitializeAllAsmParsers();
    L = std::make_unique<Lower>(Argv[1], Argv[2], Argv[3], Argv[4]);
  } else if (Argc == 2 && StringRef(Argv[1]) == "calls") {
#define HANDLE_LIBCALL(Code, Name)                                                                                     \
  if (const char *N = Name)                                                                                            \
    outs() << "C " << N << "\n";
#include "llvm/IR/RuntimeLibcalls.def"
#undef HANDLE_LIBCALL
  } else {
    die("usage: popcorn-lower PLUGIN PASSES NEVER DIR < LIST, or popcorn-lower calls < LIST");
  }
  for (std::string Line; std::getline(std::cin, Line);) {
    std::istringstream S(Line);
    std::string Input, Unit, Kind;
    if (!(S >> Input >> Unit) || (L && !(S >> Kind)))
      die("bad line: " + Line);
    if (L)
      L->file(Input, Unit, Kind);
    else
      printCalls(Input, Unit);
  }
}
